"""One comparison: several ways to compute the same thing on the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..contestants import Build, absent

#: The contestant that ratios are taken against, where the results do not name another.
BASELINE = "textbook"


@dataclass(frozen=True)
class Case:
    """Contestants that must agree before they are timed.

    Args:
        suite, name: what is compared, and on what.
        contestants: set up one after the other; the first is what ratios are taken against.
        batch: how many mixing factors a step takes.
        dtype: the one that is timed.
        details: columns of the result rows (phase, batch, shape, ...).
        anchor: raced with one thread and with the default allocator, too.
        traffic_bytes: the least that the work must read and write; 0 if that is not what limits it.
        floor_flops: tells the least number of operations that give an exact result; 0 if unknown.
        pass_flops: tells the operations of one forward pass of the critic; 0 where the work is not
            to be told in such passes.
        tolerance: the largest relative difference from the baseline in float64.
        timed_tolerance: the same in the dtype that is timed. Rounding switches units on and off
            there, which changes the gradient: it shows blunders and nothing else.
        memory: the contestants whose peak memory is measured, each in a process of its own.
        timed: whether to time it at all.
    """

    suite: str
    name: str
    contestants: dict[str, Build]
    batch: int
    dtype: torch.dtype = torch.float32
    details: dict[str, Any] = field(default_factory=dict)
    anchor: bool = False
    traffic_bytes: int = 0
    floor_flops: Callable[[], int] = lambda: 0
    pass_flops: Callable[[], int] = lambda: 0
    tolerance: float = 1e-12
    timed_tolerance: float = 1e-2
    memory: tuple[str, ...] = ()
    timed: bool = True

    def leave_out(self, names: Iterable[str], reason: str) -> None:
        """These contestants do not take part, for this reason."""
        self.contestants.update(dict.fromkeys(names, absent(reason)))

    @property
    def baseline(self) -> str:
        """The contestant that ratios are taken against."""
        return next(iter(self.contestants))
