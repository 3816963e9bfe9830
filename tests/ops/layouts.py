"""Tensors that lie in memory in every way that a user's may."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wgan_fast.ops._layout import as_rows

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]

#: One dimension, two, primes, around the widths of vector registers, of the blocks of rows and of
#: the segments that the kernels cut long rows into, one element beyond a power of two.
SHAPES = [
    (1,),
    (5,),
    (1, 1),
    (3, 1),
    (2051, 1),
    (1, 2),
    (70, 2),
    (7, 3),
    (129, 4),
    (2050, 5),
    (4, 31),
    (3, 33),
    (3, 97),
    (400, 100),
    (1, 1009),
    (2, 16384),
    (2, 16385),
    (2, 3, 5),
    (3, 1, 1, 7),
    (65, 2, 2),
    (2, 3, 4, 5),
    (4, 3, 8, 8),
    (2, 2, 3, 2, 3),
]
LARGE_SHAPES = [(1, 2**20 + 3), (3, 2, 173, 101)]


def randn(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def contiguous(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return randn(shape, dtype)


def unaligned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One element behind a 16-byte boundary, which no row is on if the rows are not."""
    flat = randn((torch.Size(shape).numel() + 1,), dtype)
    return flat[1:].view(shape)


def every_second_sample(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return randn((2 * shape[0], *shape[1:]), dtype)[::2]


def without_first_column(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if len(shape) == 1:
        return randn((shape[0] + 1,), dtype)[1:]
    return randn((shape[0], shape[1] + 1, *shape[2:]), dtype)[:, 1:]


def one_sample_for_all(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return randn((1, *shape[1:]), dtype).expand(shape)


def overlapping_samples(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Windows on one signal: the next sample begins one element further."""
    inner = torch.empty(shape[1:]).stride()
    flat = randn((torch.Size(shape).numel() + shape[0],), dtype)
    return flat.as_strided(shape, (1, *inner))


def transposed(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Inner dimensions in reversed order."""
    if len(shape) < 3:
        return randn(shape, dtype)
    order = [0, *range(len(shape) - 1, 0, -1)]
    return randn(tuple(shape[i] for i in order), dtype).permute(order)


def channels_last(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.movedim(
        randn((shape[0], *shape[2:], *shape[1:2]), dtype), -1, min(1, len(shape) - 1)
    )


def scattered(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Every second element of the last dimension: no sample is one piece of memory."""
    return randn((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]


Layout = Callable[[tuple[int, ...], torch.dtype], Tensor]


def samples(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout) -> Tensor:
    """A batch in this layout, or a copy of it if a kernel cannot take it so."""
    return as_rows(layout(shape, dtype))


LAYOUTS: list[Layout] = [
    contiguous,
    unaligned,
    every_second_sample,
    without_first_column,
    one_sample_for_all,
    overlapping_samples,
    transposed,
    channels_last,
    scattered,
]


def layouts_of(shape: tuple[int, ...]) -> list[Layout]:
    """All layouts that differ for this shape: a row of one dimension has no order of dimensions."""
    return [f for f in LAYOUTS if len(shape) > 2 or f not in (transposed, channels_last)]


def away_from_kinks(gradients: Tensor) -> Tensor:
    """The same gradients with norms 3 and 0.1 in turns: on both sides of a target, at no kink."""
    norms = torch.linalg.vector_norm(gradients.reshape(len(gradients), -1), dim=1)
    wanted = torch.where(torch.arange(len(gradients)) % 2 == 0, 3.0, 0.1).to(gradients.dtype)
    return gradients.clone() * (wanted / norms).view(-1, *(1,) * (gradients.dim() - 1))
