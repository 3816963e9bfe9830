"""Input gradients that are too small for float16, and would be zero without a word."""

from __future__ import annotations

import torch
from torch import Tensor

from .._per_critic import Memory, PerCritic
from .._tracing import can_look
from .warn import warn

#: The critics that were looked at: a device is waited for, once.
_looked: PerCritic[bool] = PerCritic()

#: What the scores are multiplied by to see whether their gradient is zero because it is small; of
#: float16, too.
_LARGER = 2.0**14


def warn_of_underflow(memory: Memory, scores: Tensor, points: Tensor, gradients: Tensor) -> None:
    """Warns, once for each critic, of gradients that float16 has made zero.

    Args:
        memory: what is known of the critic.
        scores: what it returned, with a graph that has been kept.
        points: where it was called, ``[B, *]``.
        gradients: of the scores, ``[B, *]``.
    """
    if not _has_float16(scores, points) or _looked.get(memory) or not can_look(points):
        return
    _looked.put(memory, True)
    zero = ~gradients.detach().reshape(len(points), -1).any(1)
    if not bool(zero.any()):
        return
    (larger,) = torch.autograd.grad(
        scores, points, torch.full_like(scores, _LARGER), retain_graph=True
    )
    lost = int((zero & larger.reshape(len(larger), -1).any(1)).sum())
    if lost:
        warn(
            f"the critic's input gradient is too small for float16: for {lost} of the "
            f"{len(points)} samples it is zero, although the scores depend on them, and the "
            "penalty of these trains nothing. Penalise the gradient of larger scores, as "
            "docs/amp.md shows, or take bfloat16."
        )


def _has_float16(scores: Tensor, points: Tensor) -> bool:
    if scores.dtype == torch.float16 or points.dtype == torch.float16:
        return True
    kind = points.device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
