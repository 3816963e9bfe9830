"""A point between each real and fake sample, at a given mixing factor.

    interpolates[b] = epsilon[b] * real[b] + (1 - epsilon[b]) * fake[b]

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_dense
from ._checks import check_dense_pair, check_pair, check_samples, check_vector
from ._layout import as_rows, compute_dtype, empty_packed_like, packed_like, per_sample, rows_like
from ._op import Op


def interpolate(real: Tensor, fake: Tensor, epsilon: Tensor, *, backend: str = "auto") -> Tensor:
    r"""Mixes each real sample with the fake one beside it.

    .. math:: \hat x_b = \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b

    Args:
        real: samples :math:`x`, ``[B, *]``, float64, float32, float16 or bfloat16, any layout.
        fake: samples :math:`\tilde x`, the same shape, dtype and device.
        epsilon: mixing factors, ``[B]``, on the same device; float64 if the samples are, else
            float32.
        backend: "auto", "native", "pytorch" or "reference".

    Returns:
        ``[B, *]``, the dtype of ``real``, its samples laid out like those of ``real``.

    Raises:
        TypeError: if an argument is not a dense tensor.
        ValueError: if there is no such backend.
        RuntimeError: if shapes, dtypes or devices do not fit, or the backend is not there.

    Gradients: with respect to real, fake and epsilon, to any order.

    Numerics: computed as ``fma(epsilon, real, fma(-epsilon, fake, fake))`` in float32 (float64 for
    float64), which overflows nowhere, and rounded to the dtype of the samples; without FMA, as in
    the reference, products are rounded as well.

    Source: arXiv 1704.00028, algorithm 1, line 6.

    Example:
        >>> real, fake = torch.ones(2, 3), torch.zeros(2, 3)
        >>> interpolate(real, fake, torch.tensor([0.25, 1.0]))
        tensor([[0.2500, 0.2500, 0.2500],
                [1.0000, 1.0000, 1.0000]])
    """
    check_dense_pair(real, fake)
    check_dense(epsilon, "epsilon", "[B]")
    real = as_rows(real)
    return INTERPOLATE(real, rows_like(real, fake), epsilon, backend=backend)


def _check(real: Tensor, fake: Tensor, epsilon: Tensor) -> None:
    check_pair(real, fake)
    check_vector(epsilon, "epsilon", real, real.shape[0])


def _check_backward(grad: Tensor, epsilon: Tensor) -> None:
    check_samples(grad, "grad")
    check_vector(epsilon, "epsilon", grad, grad.shape[0])


def mix(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The formula, in the dtype the kernels compute in."""
    dtype = compute_dtype(real.dtype)
    end, start, factor = real.to(dtype), fake.to(dtype), per_sample(epsilon, real)
    # Not start + factor * (end - start): samples may lie further apart than their dtype reaches.
    return packed_like(real, factor * end + (start - factor * start))


def mix_quickly(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """The same in as few calls as possible, without a difference that could overflow."""
    factors = per_sample(epsilon, real)
    rest = torch.addcmul(fake, fake, factors, value=-1)
    return packed_like(real, torch.addcmul(rest, real, factors))


def split(grad: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """The adjoint of :func:`mix`: what of ``grad`` goes to real and what to fake."""
    wide = grad.to(compute_dtype(grad.dtype))
    factor = per_sample(epsilon, grad)
    return packed_like(grad, factor * wide), packed_like(grad, (1 - factor) * wide)


def _slope_in_epsilon(grad: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """How each sample's mixing factor changes the result in the direction of ``grad``: ``[B]``."""
    dtype = compute_dtype(grad.dtype)
    change = grad.to(dtype) * (real.to(dtype) - fake.to(dtype))
    return change.flatten(1).sum(1) if change.dim() > 1 else change


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Any, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
        ctx.backend = "reference" if kernel is INTERPOLATE.reference else "auto"
        samples = (real, fake) if ctx.needs_input_grad[3] else (None, None)
        ctx.save_for_backward(epsilon, *samples)
        return kernel(real, fake, epsilon)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        epsilon, real, fake = ctx.saved_tensors
        grad = as_rows(grad)
        to_real, to_fake = INTERPOLATE_BACKWARD(grad, epsilon, backend=ctx.backend)
        to_epsilon = None if real is None else _slope_in_epsilon(grad, real, fake)
        return None, to_real, to_fake, to_epsilon


def _samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for shape in [(1,), (3, 1), (4, 7), (2, 3, 4, 4), (5, 130)]:
        real, fake = torch.randn(2, *shape, dtype=dtype, device=device)
        yield real, fake, torch.rand(shape[0], dtype=compute_dtype(dtype), device=device)


def _backward_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for real, _, epsilon in _samples(dtype, device):
        yield real, epsilon


INTERPOLATE = Op(
    "interpolate(Tensor real, Tensor fake, Tensor epsilon) -> Tensor",
    check=_check,
    reference=mix,
    pytorch=mix_quickly,
    fake=lambda real, fake, epsilon: empty_packed_like(real),
    autograd=_Interpolate.apply,
    samples=_samples,
)

INTERPOLATE_BACKWARD = Op(
    "interpolate_backward(Tensor grad, Tensor epsilon) -> (Tensor, Tensor)",
    check=_check_backward,
    reference=split,
    fake=lambda grad, epsilon: (empty_packed_like(grad), empty_packed_like(grad)),
    # Only asked for when a gradient of a gradient is: plain PyTorch does, to any order.
    autograd=lambda kernel, grad, epsilon: split(grad, epsilon),
    samples=_backward_samples,
)
