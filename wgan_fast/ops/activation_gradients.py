"""The second order of a smooth activation: both gradients of its backward pass, in one pass.

    of_grad = tangent * f'(x),    of_x = tangent * grad * f''(x)

PyTorch computes them by a chain of elementwise operators, each of which reads and writes whole
arrays; here three arrays are read and two written. The derivatives are in ``_activations.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_choice, check_dense, describe
from ._activations import ACTIVATIONS, Derivatives
from ._checks import check_dtype, check_same
from ._layout import (
    as_one_piece,
    compute_dtype,
    empty_in_order_of,
    in_order_of,
    is_one_piece,
    lies_like,
)
from ._op import Op


def activation_gradients(
    x: Tensor,
    grad: Tensor,
    tangent: Tensor,
    activation: str,
    parameters: Sequence[float] = (),
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Both gradients of an activation's backward pass, which is :math:`g \, f'(x)`.

    .. math:: \frac{\partial}{\partial g} = t \, f'(x), \qquad
              \frac{\partial}{\partial x} = t \, g \, f''(x)

    Args:
        x: the input of the activation :math:`f`, of any shape and layout, float64, float32, float16
            or bfloat16. For "tanh" and "sigmoid" its output, of which :math:`f'` is a function;
            :math:`f''` is the derivative of that function.
        grad: :math:`g`, the gradient that came to the activation's output; the same shape, dtype
            and device.
        tangent: :math:`t`, the gradient with respect to the result of the backward pass; the same.
        activation: "silu", "gelu", "gelu_tanh", "softplus", "tanh", "sigmoid", "elu", "mish",
            "hardswish", "log_sigmoid" or "softsign".
        parameters: numbers: beta and threshold for "softplus"; alpha, scale and input_scale for
            "elu", which is CELU with (alpha, 1, 1 / alpha), too; nothing for all others.
        backend: "auto", "native", "pytorch" or "reference".

    Returns:
        ``(of_grad, of_x)``: the shape and dtype of ``x``, and its layout where it is one piece of
        memory; otherwise they are contiguous.

    Raises:
        TypeError: if x, grad or tangent is not a dense tensor, or a parameter not a number.
        ValueError: if there is no such activation or backend, or the parameters are too many or
            too few.
        RuntimeError: if shapes, dtypes or devices do not fit, or the backend is not there.

    Gradients: with respect to x, grad and tangent, to any order; the first by one kernel, too.

    Numerics: derivatives and products are computed in float32 (float64 for float64; "reference" in
    float64) and rounded to the dtype. Each is off by a few roundings, and by as much as x moved by
    one rounding would move it, in the tails as well: what is subnormal is right. Infinite x gives
    the limits. ``grad`` times the second derivative comes first, so that where this is zero, the
    product is zero however large grad and tangent are.

    Source: the derivative of PyTorch's ``silu_backward`` and so on.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 2.0])
        >>> activation_gradients(x, torch.ones(3), torch.ones(3), "silu")
        (tensor([0.0723, 0.5000, 1.0908]), tensor([0.3024, 0.5000, 0.0501]))
    """
    for value, name in ((x, "x"), (grad, "grad"), (tangent, "tangent")):
        check_dense(value, name, "[*]")
    for value in parameters:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"parameters must be numbers, but one of them is {describe(value)}")
    _check_activation(activation, parameters)
    x = as_one_piece(x)
    others = in_order_of(x, grad), in_order_of(x, tangent)
    return ACTIVATION_GRADIENTS(x, *others, activation, list(parameters), backend=backend)


def _check(x: Tensor, grad: Tensor, tangent: Tensor, *activation: Any) -> None:
    _check_alike(x, grad=grad, tangent=tangent)
    _check_activation(*activation)


def _check_backward(
    x: Tensor,
    grad: Tensor,
    tangent: Tensor,
    adjoint_of_grad: Tensor,
    adjoint_of_x: Tensor,
    *activation: Any,
) -> None:
    _check_alike(x, grad=grad, tangent=tangent)
    _check_alike(x, adjoint_of_grad=adjoint_of_grad, adjoint_of_x=adjoint_of_x)
    _check_activation(*activation)


def _check_alike(x: Tensor, **others: Tensor) -> None:
    check_dtype(x, "x")
    if not is_one_piece(x):
        raise RuntimeError("x must be one dense piece of memory; call .contiguous() on it")
    for name, other in others.items():
        check_same(x, "x", other, name)
        if not lies_like(x, other):
            raise RuntimeError(
                f"x and {name} must have the same strides, but they have {list(x.stride())} and "
                f"{list(other.stride())}; call .contiguous() on both"
            )


def _check_activation(activation: str, parameters: Sequence[float]) -> None:
    check_choice(activation, "activation", tuple(ACTIVATIONS))
    names = ACTIVATIONS[activation].parameters
    if len(parameters) != len(names):
        expected = " and ".join(names) or "none"
        raise ValueError(
            f"parameters of {activation!r} must be {len(names)} ({expected}), but there are "
            f"{len(parameters)}"
        )


def _derivatives(
    x: Tensor, activation: str, parameters: Sequence[float], dtype: torch.dtype = torch.float64
) -> Derivatives:
    return ACTIVATIONS[activation].derivatives(x.to(dtype), *parameters)


def plain_backward(x: Tensor, grad: Tensor, activation: str, parameters: Sequence[float]) -> Tensor:
    """``grad f'(x)`` by the formula, for tensors of every kind that PyTorch knows, in float64."""
    return (grad * _derivatives(x, activation, parameters)[0]).to(x.dtype)


def plain_gradients(
    x: Tensor, grad: Tensor, tangent: Tensor, activation: str, parameters: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The same of what :func:`activation_gradients` returns."""
    return _gradients(torch.float64, x, grad, tangent, activation, parameters)


def _gradients(
    dtype: torch.dtype,
    x: Tensor,
    grad: Tensor,
    tangent: Tensor,
    activation: str,
    parameters: Sequence[float],
) -> tuple[Tensor, Tensor]:
    first, second, _ = _derivatives(x, activation, parameters, dtype)
    of_grad, of_x = tangent * first, tangent * (grad * second)
    return of_grad.to(x.dtype), of_x.to(x.dtype)


def _backward(
    dtype: torch.dtype,
    x: Tensor,
    grad: Tensor,
    tangent: Tensor,
    adjoint_of_grad: Tensor,
    adjoint_of_x: Tensor,
    activation: str,
    parameters: Sequence[float],
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = _derivatives(x, activation, parameters, dtype)
    a, b = adjoint_of_grad, adjoint_of_x
    to_x = tangent * (a * second + b * (grad * third))
    to_grad = tangent * (b * second)
    to_tangent = a * first + b * (grad * second)
    return to_x.to(x.dtype), to_grad.to(x.dtype), to_tangent.to(x.dtype)


class _ActivationGradients(torch.autograd.Function):
    passes_every_gradient = True

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Any,
        x: Tensor,
        grad: Tensor,
        tangent: Tensor,
        activation: str,
        parameters: Sequence[float],
    ) -> tuple[Tensor, Tensor]:
        ctx.backend = "reference" if kernel is ACTIVATION_GRADIENTS.reference else "auto"
        ctx.activation = (activation, parameters)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, grad, tangent)
        return kernel(x, grad, tangent, activation, parameters)

    @staticmethod
    def backward(ctx: Any, adjoint_of_grad: Tensor | None, adjoint_of_x: Tensor | None) -> Any:
        tensors = ctx.saved_tensors
        x = tensors[0]
        adjoints = [
            torch.zeros_like(x) if adjoint is None else in_order_of(x, adjoint)
            for adjoint in (adjoint_of_grad, adjoint_of_x)
        ]
        grads = ACTIVATION_GRADIENTS_BACKWARD(
            *tensors, *adjoints, *ctx.activation, backend=ctx.backend
        )
        return None, *grads, None, None


def _samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    shapes = [(1,), (3, 1), (4, 7), (2, 3, 4, 4), (5, 130)]
    for i, (name, activation) in enumerate(ACTIVATIONS.items()):
        tensors = torch.randn(3, *shapes[i % len(shapes)], dtype=dtype, device=device)
        yield *tensors, name, list(activation.example)


def _backward_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for x, grad, tangent, *activation in _samples(dtype, device):
        yield x, grad, tangent, torch.randn_like(x), torch.randn_like(x), *activation


ACTIVATION_GRADIENTS = Op(
    "activation_gradients(Tensor x, Tensor grad, Tensor tangent, str activation, "
    "float[] parameters) -> (Tensor, Tensor)",
    check=_check,
    reference=plain_gradients,
    pytorch=lambda x, *args: _gradients(compute_dtype(x.dtype), x, *args),
    fake=lambda x, *_: (empty_in_order_of(x), empty_in_order_of(x)),
    autograd=_ActivationGradients.apply,
    samples=_samples,
)

ACTIVATION_GRADIENTS_BACKWARD = Op(
    "activation_gradients_backward(Tensor x, Tensor grad, Tensor tangent, Tensor adjoint_of_grad, "
    "Tensor adjoint_of_x, str activation, float[] parameters) -> (Tensor, Tensor, Tensor)",
    check=_check_backward,
    reference=lambda *args: _backward(torch.float64, *args),
    pytorch=lambda x, *args: _backward(compute_dtype(x.dtype), x, *args),
    fake=lambda x, *_: tuple(empty_in_order_of(x) for _ in range(3)),
    # Only asked for from the fourth order on: plain PyTorch does, to any order.
    autograd=lambda kernel, *args: _backward(torch.float64, *args),
    samples=_backward_samples,
)
