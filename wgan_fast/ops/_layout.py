"""How a batch lies in memory, for all backends.

The kernels take a batch as rows: each sample one uninterrupted piece of memory, with its own
dimensions in any order (``channels_last`` included), and any distance from one sample to the next.
What they return is packed: the next sample begins where the last one ends.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from .._torch_internals import are_ordinary


def is_rows(x: Tensor) -> bool:
    """Whether each sample of ``x`` (``[B, *]``) is one dense piece of memory."""
    if x.is_contiguous():
        return True
    inner = sorted((s, n) for s, n in zip(x.stride()[1:], x.shape[1:], strict=True) if n != 1)
    expected = 1
    for stride, size in inner:
        if stride != expected:
            return False
        expected *= size
    return True


def as_rows(x: Tensor) -> Tensor:
    """``x`` itself if its samples are dense, otherwise a contiguous copy."""
    return x if x.is_contiguous() or is_rows(x) else x.contiguous()


def packed_strides(x: Tensor) -> tuple[int, ...]:
    """Strides of a packed tensor whose samples are laid out like those of ``x``."""
    return (math.prod(x.shape[1:]), *x.stride()[1:])


def empty_packed_like(x: Tensor) -> Tensor:
    """An uninitialised packed tensor with the layout, dtype and device of ``x``."""
    return torch.empty_strided(x.shape, packed_strides(x), dtype=x.dtype, device=x.device)


def packed_like(x: Tensor, result: Tensor) -> Tensor:
    """``result`` in the packed layout of ``x`` and its dtype; copied only if it is not yet so."""
    if result.dtype == x.dtype and x.is_contiguous() and result.is_contiguous():
        return result
    if not are_ordinary(x, result):  # where they lie is not said
        return result.to(x.dtype)
    same = all(
        a == b or n == 1
        for a, b, n in zip(result.stride(), packed_strides(x), x.shape, strict=True)
    )
    if same and result.dtype == x.dtype:
        return result
    return empty_packed_like(x).copy_(result)


def rows_like(x: Tensor, other: Tensor) -> Tensor:
    """``other`` with the layout of ``x``'s samples; copied only if it has another one."""
    if other.stride() == x.stride() or other.shape != x.shape:
        return other  # another shape is for the operator to refuse
    if not are_ordinary(x, other):
        return other
    same = all(
        a == b or n == 1
        for a, b, n in zip(other.stride()[1:], x.stride()[1:], x.shape[1:], strict=True)
    )
    if same:
        return other
    strides = packed_strides(x)
    copy = torch.empty_strided(x.shape, strides, dtype=other.dtype, device=other.device)
    return copy.copy_(other)


def is_one_piece(x: Tensor) -> bool:
    """Whether the elements of ``x`` fill one piece of memory, its dimensions in any order."""
    return x.is_contiguous() or is_rows(x.unsqueeze(0))


def as_one_piece(x: Tensor) -> Tensor:
    """``x`` itself if it is one piece of memory, otherwise a contiguous copy."""
    return x if is_one_piece(x) else x.contiguous()


def empty_in_order_of(x: Tensor) -> Tensor:
    """An uninitialised tensor with the strides, dtype and device of ``x``, which is one piece."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def lies_like(x: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape have their elements in the same order in memory."""
    if other.stride() == x.stride():
        return True
    strides = zip(other.stride(), x.stride(), x.shape, strict=True)
    return all(a == b or n == 1 for a, b, n in strides)


def in_order_of(x: Tensor, other: Tensor) -> Tensor:
    """``other`` with its elements in the order of ``x``, which is one piece of memory."""
    if other.shape != x.shape or lies_like(x, other):
        return other  # another shape is for the operator to refuse
    return torch.empty_strided(x.shape, x.stride(), dtype=other.dtype, device=other.device).copy_(
        other
    )


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which an element is computed, and that of epsilon, norms and penalties."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def spread_like(values: Tensor, samples: Tensor) -> Tensor:
    """``values``, which every process has drawn, beside samples that may be a ``DTensor``: those of
    the first process, on all of them."""
    mesh = None if type(samples) is Tensor else getattr(samples, "device_mesh", None)
    if mesh is None:
        return values
    tensors = sys.modules["torch.distributed.tensor"]
    return tensors.distribute_tensor(values, mesh, [tensors.Replicate()] * mesh.ndim)


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """``values`` (``[B]``) shaped to broadcast over the samples of ``x`` (``[B, *]``)."""
    return values.reshape(-1, *(1,) * (x.dim() - 1))
