"""Convolutions, their gradients, and the gradients of these, to any order.

Three bilinear functions share the work:

    convolve(x, w),    input_gradient(g, w),    weight_gradient(g, x)

The derivative of each is made of the other two, so they can be differentiated to any order, and
each is one call of ``torch.convolution`` or of ``convolution_backward.py``.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..._torch_internals import is_batched, node_type, saved_tensors
from .._recording import wanted_gradients
from .convolution_backward import Geometry, input_gradient, weight_gradient

_LEAKY_RELU = node_type("LeakyReluBackward0")


def convolve(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """``torch.convolution`` of an input that requires a gradient."""
    output = _Convolve.apply(input, weight, bias, geometry)
    if _LEAKY_RELU is not None and type(input.grad_fn) is _LEAKY_RELU:
        _keep_only_what_is_before_the_activation(output.grad_fn, input.grad_fn)
    return output


def _keep_only_what_is_before_the_activation(node: Any, activation: Any) -> None:
    """Spares the memory of a convolution's input that can be computed from the activation's.

    LeakyReLU keeps its input, and the convolution its own, which is LeakyReLU's output. The double
    backward of a piecewise linear critic never comes back for that.
    """

    # Held here, not by way of the activation: a backward pass of what is before this convolution
    # frees what the activation holds.
    before, slope = activation._saved_self.detach(), activation._saved_negative_slope
    version = before._version

    def compute_again(_: None) -> Tensor:
        if before._version != version:
            raise RuntimeError(
                "the input of a leaky_relu before a convolution has been changed in place since; "
                "its gradient cannot be computed any more"
            )
        with torch.no_grad():
            return F.leaky_relu(before, slope)

    # Refused where a tensor is saved by other hooks already, such as those of a checkpoint.
    with contextlib.suppress(RuntimeError, IndexError):
        saved_tensors(node)[0].register_hooks(lambda _: None, compute_again)


class _Convolve(Function):
    """``convolve(x, w) + b``"""

    passes_every_gradient = True
    is_product = True

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.set_materialize_grads(False)  # a gradient that was cut off must not return as zeros
        ctx.save_for_backward(input, weight)
        ctx.geometry = geometry
        return torch.convolution(input, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None
        input, weight = ctx.saved_tensors
        wanted = wanted_gradients(ctx)
        grad_bias = grad.sum([0, *range(2, grad.dim())]) if wanted[2:] == [True] else None
        grad_input = _input_gradient(grad, weight, input, ctx.geometry) if wanted[0] else None
        grad_weight = _weight_gradient(grad, input, weight, ctx.geometry) if wanted[1] else None
        return grad_input, grad_weight, grad_bias, None


class _InputGradient(Function):
    """``input_gradient(g, w)``; of ``x`` it takes the shape."""

    passes_every_gradient = True
    is_product = True

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, weight: Tensor, input: Tensor, geometry: Geometry
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, weight)
        ctx.geometry = geometry
        return input_gradient(grad, input, weight, geometry)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, ...]:
        if tangent is None:
            return None, None, None, None
        grad, weight = ctx.saved_tensors
        wanted = wanted_gradients(ctx)
        grad_grad = _convolve(tangent, weight, ctx.geometry) if wanted[0] else None
        grad_weight = _weight_gradient(grad, tangent, weight, ctx.geometry) if wanted[1] else None
        return grad_grad, grad_weight, None, None


class _WeightGradient(Function):
    """``weight_gradient(g, x)``; of ``w`` it takes the shape."""

    passes_every_gradient = True
    is_product = True

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, input)
        ctx.geometry = geometry
        return weight_gradient(grad, input, weight, geometry)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, ...]:
        if tangent is None:
            return None, None, None, None
        grad, input = ctx.saved_tensors
        wanted = wanted_gradients(ctx)
        grad_grad = _convolve(input, tangent, ctx.geometry) if wanted[0] else None
        grad_input = _input_gradient(grad, tangent, input, ctx.geometry) if wanted[1] else None
        return grad_grad, grad_input, None, None


# The three functions, recorded for differentiation only where that goes on. A vectorised backward
# pass (is_grads_batched) records PyTorch's functions alone.


def _convolve(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if _is_recorded(input, weight):
        return _Convolve.apply(input, weight, None, geometry)
    return torch.convolution(input, weight, None, *geometry)


def _input_gradient(grad: Tensor, weight: Tensor, input: Tensor, geometry: Geometry) -> Tensor:
    if _is_recorded(grad, weight):
        return _InputGradient.apply(grad, weight, input.detach(), geometry)
    return input_gradient(grad, input.detach(), weight, geometry)


def _weight_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if _is_recorded(grad, input):
        return _WeightGradient.apply(grad, input, weight.detach(), geometry)
    return weight_gradient(grad, input, weight.detach(), geometry)


def _is_recorded(one: Tensor, other: Tensor) -> bool:
    return torch.is_grad_enabled() and not is_batched(one) and not is_batched(other)
