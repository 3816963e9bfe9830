"""Which critics were met before, and whether values can be looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._per_critic import PerCritic, memory_of
from .._torch_internals import transforms_active


class Seen:
    """The critics that were met."""

    def __init__(self) -> None:
        self._seen: PerCritic[bool] = PerCritic()

    def has(self, critic: Callable[..., Any], module: torch.nn.Module | None) -> bool:
        return bool(self._seen.get(memory_of(critic, module)))

    def add(self, critic: Callable[..., Any], module: torch.nn.Module | None) -> None:
        self._seen.put(memory_of(critic, module), True)


def values_of(tensor: Tensor) -> Tensor:
    """A tensor to look at the values of: of a ``DTensor`` all, from all processes."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def can_look(points: Tensor) -> bool:
    """Whether values can be looked at: not while calls are recorded, to be repeated with others."""
    if torch.compiler.is_compiling() or transforms_active() or points.is_meta:
        return False
    return not (points.is_cuda and torch.cuda.is_current_stream_capturing())
