"""A random point between each real and fake sample, drawn inside the kernel.

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, algorithm 1,
lines 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_dense
from ._checks import check_dense_pair, check_draw, check_pair, check_samples, check_seed
from ._layout import as_rows, compute_dtype, empty_packed_like, rows_like, spread_like
from ._op import Op
from .interpolate import mix, split
from .philox import uniform_epsilon


def random_interpolate(
    real: Tensor, fake: Tensor, seed: Tensor, first_sample: int = 0, *, backend: str = "auto"
) -> Tensor:
    r"""Mixes each real sample with the fake one beside it, at a random factor of its own.

    .. math:: \hat x_b = \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b,
              \qquad \epsilon_b = \mathrm{philox}(seed, first\_sample + b) \in [0, 1)

    Args:
        real: samples :math:`x`, ``[B, *]``, float64, float32, float16 or bfloat16, any layout.
        fake: samples :math:`\tilde x`, the same shape, dtype and device.
        seed: one int64 number, on the CPU, or on the device of the samples (where a captured CUDA
            graph reads it anew at every replay).
        first_sample: the index of the first sample in the whole batch, when this is a slice of it,
            at least 0.
        backend: "auto", "native", "pytorch" or "reference".

    Returns:
        ``[B, *]``, the dtype of ``real``, its samples laid out like those of ``real``.

    Raises:
        TypeError: if an argument is not a dense tensor, or ``first_sample`` not an integer.
        ValueError: if ``first_sample`` is negative, or there is no such backend.
        RuntimeError: if shapes, dtypes or devices do not fit, or the backend is not there.

    Gradients: with respect to real and fake, to any order.

    Numerics: the factors are the same bit for bit on every backend, in every dtype and however the
    batch is sliced; :func:`drawn_epsilon` tells them. Otherwise as :func:`interpolate`.

    Source: arXiv 1704.00028, algorithm 1, lines 5 and 6; Philox4x32-10: Salmon et al., SC 2011.

    Example:
        >>> real, fake = torch.ones(2, 3), torch.zeros(2, 3)
        >>> random_interpolate(real, fake, torch.tensor(0))
        tensor([[0.3990, 0.3990, 0.3990],
                [0.9722, 0.9722, 0.9722]])
    """
    check_dense_pair(real, fake)
    check_draw(seed, first_sample)
    real = as_rows(real)
    return RANDOM_INTERPOLATE(real, rows_like(real, fake), seed, first_sample, backend=backend)


def drawn_epsilon(real: Tensor, seed: Tensor, first_sample: int = 0) -> Tensor:
    """The factors that :func:`random_interpolate` draws, ``[B]``, ready for :func:`interpolate`.

    Raises as :func:`random_interpolate`.

    Example:
        >>> drawn_epsilon(torch.ones(2, 3), torch.tensor(0))
        tensor([0.3990, 0.9722])
    """
    check_dense(real, "real", "[B, *]")
    check_draw(seed, first_sample)
    check_samples(real, "real")
    check_seed(seed, real)
    return _drawn(real, seed, first_sample)


def _drawn(samples: Tensor, seed: Tensor, first_sample: int) -> Tensor:
    epsilon = uniform_epsilon(seed, samples.shape[0], first_sample, samples.device)
    return spread_like(epsilon.to(compute_dtype(samples.dtype)), samples)


def _check(real: Tensor, fake: Tensor, seed: Tensor, first_sample: int) -> None:
    check_pair(real, fake)
    check_seed(seed, real)


def _check_backward(grad: Tensor, seed: Tensor, first_sample: int) -> None:
    check_samples(grad, "grad")
    check_seed(seed, grad)


def _reference(real: Tensor, fake: Tensor, seed: Tensor, first_sample: int) -> Tensor:
    return mix(real, fake, _drawn(real, seed, first_sample))


def _reference_backward(grad: Tensor, seed: Tensor, first_sample: int) -> tuple[Tensor, Tensor]:
    return split(grad, _drawn(grad, seed, first_sample))


class _RandomInterpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: Any, real: Tensor, fake: Tensor, seed: Tensor, first_sample: int
    ) -> Tensor:
        ctx.backend = "reference" if kernel is RANDOM_INTERPOLATE.reference else "auto"
        ctx.first_sample = first_sample
        ctx.save_for_backward(seed)
        return kernel(real, fake, seed, first_sample)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (seed,) = ctx.saved_tensors
        grads = RANDOM_INTERPOLATE_BACKWARD(
            as_rows(grad), seed, ctx.first_sample, backend=ctx.backend
        )
        return None, *grads, None, None


def _samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for shape in [(1,), (3, 1), (4, 7), (2, 3, 4, 4), (5, 130), (200, 2)]:
        real, fake = torch.randn(2, *shape, dtype=dtype, device=device)
        yield real, fake, torch.randint(-(2**63), 2**63 - 1, ()), 2**33 + 5


def _backward_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for real, _, seed, first_sample in _samples(dtype, device):
        yield real, seed, first_sample


RANDOM_INTERPOLATE = Op(
    "random_interpolate(Tensor real, Tensor fake, Tensor seed, int first_sample) -> Tensor",
    check=_check,
    reference=_reference,
    fake=lambda real, fake, seed, first_sample: empty_packed_like(real),
    autograd=_RandomInterpolate.apply,
    samples=_samples,
)

RANDOM_INTERPOLATE_BACKWARD = Op(
    "random_interpolate_backward(Tensor grad, Tensor seed, int first_sample) -> (Tensor, Tensor)",
    check=_check_backward,
    reference=_reference_backward,
    fake=lambda grad, seed, first_sample: (empty_packed_like(grad), empty_packed_like(grad)),
    # Only asked for when a gradient of a gradient is: plain PyTorch does, to any order.
    autograd=lambda kernel, *args: _reference_backward(*args),
    samples=_backward_samples,
)
