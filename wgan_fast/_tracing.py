"""Calls that are recorded, to be repeated with other values: by compilers, tracers, transforms."""

from __future__ import annotations

import torch
from torch import Tensor

from ._torch_internals import is_batched, is_fake, is_recorded_by_proxies, transforms_active


def can_look(*tensors: Tensor) -> bool:
    """Whether the values of tensors can be looked at, and a decision be made by them.

    Not where they have none (fake and meta tensors), and not while calls are recorded to be
    repeated with other values: by ``torch.compile``, ``torch.export``, ``make_fx``, the transforms
    of ``torch.func``, and in a CUDA graph.
    """
    if torch.compiler.is_compiling() or transforms_active() or is_recorded_by_proxies():
        return False
    if any(tensor.is_meta or is_fake(tensor) or is_batched(tensor) for tensor in tensors):
        return False
    on_gpu = any(tensor.is_cuda for tensor in tensors)
    return not (on_gpu and torch.cuda.is_current_stream_capturing())


def is_traced(tensor: Tensor) -> bool:
    """Whether calls are recorded in Python, tensor by tensor: by ``make_fx``, ``torch.export`` and
    others that put fake tensors in the place of real ones."""
    return torch.compiler.is_compiling() or is_recorded_by_proxies() or is_fake(tensor)


def has_symbolic_shape(tensor: Tensor) -> bool:
    """Whether a size is not known yet, so that nothing can be remembered by it."""
    return any(isinstance(size, torch.SymInt) for size in tensor.shape)


def values_of(tensor: Tensor) -> Tensor:
    """A tensor to look at the values of: of a ``DTensor`` all, from all processes."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
