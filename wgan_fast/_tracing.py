"""Calls that are recorded, to be repeated with other values: by compilers, tracers, transforms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ._being_captured import being_captured
from ._torch_internals import (
    dynamo_differentiates,
    is_batched,
    is_exporting,
    is_fake,
    is_recorded_by_proxies,
    left_to_eager_mode,
    transforms_active,
)

Function = TypeVar("Function", bound=Callable[..., Any])


def breaks_graphs(function: Function) -> Function:
    """A penalty that ``torch.compile``, tracing its caller, leaves to eager mode.

    Dynamo ends its graph before the call, and begins another one after it: what was compiled has no
    double backward. Where it records that, too (``torch._dynamo.config.trace_autograd_ops``), it
    is let in, and finds plain PyTorch.
    """
    return _left_to_eager_mode(function, _can_be_traced)


def always_breaks_graphs(function: Function) -> Function:
    """The same for what changes a state or sets it back, which is never traced."""
    return _left_to_eager_mode(function, lambda _: False)


def _left_to_eager_mode(
    function: Function, can_be_traced: Callable[[Mapping[str, Any]], bool]
) -> Function:
    eagerly = left_to_eager_mode(function, _WHY_EAGERLY)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_exporting():
            raise RuntimeError(_WHY_NOT_EXPORTED)
        if torch.compiler.is_dynamo_compiling() and not can_be_traced(kwargs):
            return eagerly(*args, **kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


_WHY_EAGERLY = (
    "wgan_fast differentiates the critic twice, which a graph of torch.compile cannot be. Leave "
    "out fullgraph=True, or call the penalty outside of the compiled function. From PyTorch 2.13 "
    "on, torch._dynamo.config.trace_autograd_ops = True lets it be compiled, together with the "
    "gradients of the loss, without chunk_size, finite differences, approximate_r1, Lazy and "
    "Penalty(every=...)"
)
_WHY_NOT_EXPORTED = (
    "torch.export cannot record a penalty, which is a gradient to be differentiated again. Export "
    "the critic alone; or record loss and gradients with "
    "torch.fx.experimental.proxy_tensor.make_fx"
)


def _can_be_traced(kwargs: Mapping[str, Any]) -> bool:
    """Whether nothing but the critic's forward and backward passes is asked for."""
    if not dynamo_differentiates() or kwargs.get("chunk_size") is not None:
        return False
    if kwargs.get("double_backward", "plain") not in ("pruned", "plain", "exact"):
        return False
    return all(getattr(kwargs.get(name), "every", 1) == 1 for name in ("gp", "r1", "r2"))


def can_look(*tensors: Tensor) -> bool:
    """Whether the values of tensors can be looked at, and a decision be made by them.

    Not where they have none (fake and meta tensors), and not while calls are recorded to be
    repeated with other values: by ``torch.compile``, ``torch.export``, ``make_fx``, the transforms
    of ``torch.func``, by :func:`wgan_fast.captured`, and in a CUDA graph.
    """
    if torch.compiler.is_compiling() or transforms_active() or is_recorded_by_proxies():
        return False
    if being_captured():
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
    return not {int}.issuperset(map(type, tensor.shape))


def values_of(tensor: Tensor) -> Tensor:
    """A tensor to look at the values of: of a ``DTensor`` all, from all processes."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
