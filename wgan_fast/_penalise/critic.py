"""The critic, called and differentiated with respect to its input."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .._torch_internals import input_gradient
from ..second_order.context import EfficientDoubleBackward
from .checks import describe

_BATCH_NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.SyncBatchNorm,
)

#: The critics that were looked through for batch normalisation, in training mode.
_looked_through: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def module_of(critic: Callable[..., Any]) -> torch.nn.Module | None:
    """The module that does the work, when ``critic`` is one, or a method or a partial of one."""
    if isinstance(critic, torch.nn.Module):
        return critic
    if isinstance(critic, functools.partial):
        return module_of(critic.func)
    owner = getattr(critic, "__self__", None)
    return owner if isinstance(owner, torch.nn.Module) else None


def check_critic(critic: Any) -> None:
    if not callable(critic):
        raise TypeError(
            f"critic must be callable, a torch.nn.Module or a function, but it is "
            f"{describe(critic)}"
        )


def warn_of_batch_norm(module: torch.nn.Module | None) -> None:
    """Warns once for each critic whose samples depend on each other through batch statistics."""
    if module is None or not module.training or module in _looked_through:
        return
    _looked_through.add(module)
    names = [
        f"{name or 'the critic itself'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if isinstance(part, _BATCH_NORMS) and part.training
    ]
    if names:
        warnings.warn(
            f"the critic has batch normalisation in training mode: {', '.join(names)}. It makes "
            "the score of a sample depend on the rest of the batch, so that a per-sample gradient "
            "norm loses its meaning. Use layer, instance or group normalisation, or none "
            "(arXiv 1704.00028, section 4).",
            UserWarning,
            stacklevel=4,
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

    Returns:
        ``[B, *]``, the dtype of ``points``.

    Raises:
        TypeError: if the critic does not return a floating tensor.
        ValueError: if that has not ``B`` rows, or does not depend on ``points``.
    """
    call = None
    if create_graph and prune:
        with EfficientDoubleBackward(critic, module, points) as call:
            scores = critic(points, *args, **kwargs)
    else:
        scores = critic(points, *args, **kwargs)
    check_scores(scores, points)
    if not scores.requires_grad:
        raise ValueError(_NOT_CONNECTED)
    gradients = input_gradient(scores, points, create_graph)
    if gradients is None:
        raise ValueError(_NOT_CONNECTED)
    return gradients if call is None else call.prune(gradients)


_NOT_CONNECTED = (
    "critic must return scores that depend on its input by differentiable operations, but they are "
    "not connected to it. Is there a detach(), a no_grad() or an argmax() in the critic, or does "
    "it use another tensor than its argument?"
)


def check_scores(scores: Any, points: Tensor) -> None:
    """``scores`` must be a floating tensor with one row for each of the points."""
    batch = points.shape[0]
    if not isinstance(scores, Tensor):
        what = f"a {type(scores).__name__}" if scores is not None else "None"
        raise TypeError(
            f"critic must return one tensor of scores, [B] or [B, *], but it returned {what}; wrap "
            "it in a function that returns the scores"
        )
    if not scores.dtype.is_floating_point:
        raise TypeError(f"critic must return floating scores, but they are {scores.dtype}")
    if scores.dim() == 0 or scores.shape[0] != batch:
        raise ValueError(
            f"critic must return a score for each of the {batch} samples, shape [{batch}, *], but "
            f"it returned shape {list(scores.shape)}; do not average over the batch"
        )
