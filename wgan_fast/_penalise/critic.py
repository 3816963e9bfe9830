"""The critic, called and differentiated with respect to its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .._per_critic import behind_partials, memory_of
from .._torch_internals import input_gradient
from ..second_order._profile import profile_of
from ..second_order.context import EfficientDoubleBackward, NoticingHooks
from . import batch_norm
from .checks import describe
from .double_backward_errors import BY_DIFFERENCES, input_gradient_to_differentiate
from .engines import NO_ENGINES, Engines
from .together import together
from .underflow import warn_of_underflow


def module_of(critic: Callable[..., Any]) -> torch.nn.Module | None:
    """The module that does the work, when ``critic`` is one, or a method or a partial of one."""
    critic = behind_partials(critic)
    if isinstance(critic, torch.nn.Module):
        return critic
    owner = getattr(critic, "__self__", None)
    return owner if isinstance(owner, torch.nn.Module) else None


def check_critic(critic: Any) -> None:
    if not callable(critic):
        raise TypeError(
            f"critic must be callable, a torch.nn.Module or a function, but it is "
            f"{describe(critic)}"
        )


def input_gradients(
    critic: Callable[..., Any],
    points: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    create_graph: bool,
    prune: bool,
    module: torch.nn.Module | None,
    per_sample: bool = False,
    by_differences: str = BY_DIFFERENCES,
    engines: Engines = NO_ENGINES,
) -> Tensor:
    """The gradient of each sample's score with respect to that sample.

    Args:
        critic: the critic; every entry of its output counts.
        points: ``[B, *]``, where to differentiate; requires a gradient.
        args, kwargs: passed on to the critic.
        create_graph: whether the result can be differentiated in turn.
        prune: spare the double backward what it does twice or for nothing; otherwise leave it as
            PyTorch has it.
        module: whose parameters the critic uses, if it is known.
        per_sample: whether the scores must have a row for each sample.
        by_differences: how to do without a graph, as errors suggest it.
        engines: the wrappers in the critic.

    Returns:
        ``[B, *]``, the dtype of ``points``.

    Raises:
        TypeError: if the critic does not return a floating tensor.
        ValueError: if its scores are none, or not as many as they must be, or do not depend on
            ``points``.
        RuntimeError: if the result ought to have a graph, but the critic's backward pass makes
            none. Where it makes one that cannot be differentiated, that is raised by whoever tries.
    """
    if torch.compiler.is_dynamo_compiling():
        return plain_scores_and_gradients(
            critic, points, args, kwargs, create_graph=create_graph, per_sample=per_sample
        )[1]
    memory = memory_of(critic, module)
    prune = prune and create_graph
    if prune:
        call = EfficientDoubleBackward(profile_of(critic, module, memory, points), points)
    else:
        call = NoticingHooks()
    with together(batch_norm.watching(critic, module, memory), call, engines.watching(call)):
        scores = critic(points, *args, **kwargs)
    check_scores(scores, points, per_sample=per_sample)
    if not scores.requires_grad:
        raise ValueError(NOT_CONNECTED)
    if create_graph:
        gradients = input_gradient_to_differentiate(
            memory,
            scores,
            points,
            hooked=call.has_hooks,
            pruned=prune,
            by_differences=by_differences,
        )
    else:
        gradients = input_gradient(scores, points, create_graph)
    if gradients is None:
        raise ValueError(NOT_CONNECTED)
    if create_graph:
        warn_of_underflow(memory, scores, points, gradients)
    if isinstance(call, EfficientDoubleBackward):
        gradients = call.prune(gradients)
    if not create_graph:
        return gradients
    return engines.connected(gradients, scores, hooked=call.has_hooks)


def plain_scores_and_gradients(
    critic: Callable[..., Any],
    points: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    create_graph: bool,
    per_sample: bool = False,
) -> tuple[Tensor, Tensor]:
    """The scores, and their gradients as :func:`input_gradients` returns them, by nothing but what
    every user of PyTorch would write: this is what compilers trace."""
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no double backward
        scores = critic(points, *args, **kwargs)
    check_scores(scores, points, per_sample=per_sample)
    if not scores.requires_grad:
        raise ValueError(NOT_CONNECTED)
    (gradients,) = torch.autograd.grad(
        scores, points, torch.ones_like(scores), create_graph=create_graph
    )
    return scores, gradients


NOT_CONNECTED = (
    "critic must return scores that depend on its input by differentiable operations, but they are "
    "not connected to it. Is there a detach(), a no_grad() or an argmax() in the critic, or does "
    "it use another tensor than its argument?"
)


def check_scores(scores: Any, points: Tensor, *, per_sample: bool = True) -> None:
    """``scores`` must be a floating tensor, with one row for each of the points if ``per_sample``.

    Where only their sum is used, they may have any shape. A single number for several samples is
    refused even so: nearly always it is their mean.
    """
    batch = points.shape[0]
    if not isinstance(scores, Tensor):
        what = f"a {type(scores).__name__}" if scores is not None else "None"
        raise TypeError(
            f"critic must return one tensor of scores, but it returned {what}; wrap it in a "
            "function that returns the scores"
        )
    if scores.is_nested or scores.layout != torch.strided:
        kind = "nested" if scores.is_nested else scores.layout
        raise TypeError(f"critic must return a dense tensor of scores, but it is {kind}")
    if not scores.dtype.is_floating_point:
        raise TypeError(f"critic must return floating scores, but they are {scores.dtype}")
    rows = scores.shape[0] if scores.dim() > 0 else 1
    if rows != batch and (per_sample or scores.dim() == 0):
        raise ValueError(
            f"critic must return a score for each of the {batch} samples, shape [{batch}, *], but "
            f"it returned shape {list(scores.shape)}; do not average over the batch"
        )
    if scores.numel() == 0:
        raise ValueError(
            f"critic must return at least one score, but it returned shape {list(scores.shape)}"
        )
