"""Which critics were met before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .._per_critic import PerCritic, memory_of


class Seen:
    """The critics that were met."""

    def __init__(self) -> None:
        self._seen: PerCritic[bool] = PerCritic()

    def has(self, critic: Callable[..., Any], module: torch.nn.Module | None) -> bool:
        return bool(self._seen.get(memory_of(critic, module)))

    def add(self, critic: Callable[..., Any], module: torch.nn.Module | None) -> None:
        self._seen.put(memory_of(critic, module), True)
