"""Time contestants fairly: warmed up, interleaved, by medians.

Each round runs every contestant once, in an order that rotates, so that a machine whose speed
drifts drifts for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Timing:
    """The seconds of one contestant, a value for each round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The 20 % and 80 % quantiles."""
        cuts = quantiles(self.seconds, n=5)
        return cuts[0], cuts[-1]


def interleaved(
    contestants: dict[str, Callable[[], object]], *, rounds: int = 30, least: float = 2e-3
) -> dict[str, Timing]:
    """The time of one call of each contestant, measured in ``rounds`` interleaved rounds.

    Args:
        contestants: what to call.
        rounds: how often to measure each.
        least: each measurement repeats its call until it lasts about this many seconds, so that a
            call of a microsecond is not a measurement of the clock.
    """
    repeats = {name: _repeats(call, least) for name, call in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(_seconds(contestants[name], repeats[name]))
    return {name: Timing(values) for name, values in seconds.items()}


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _repeats(call: Callable[[], object], least: float) -> int:
    for _ in range(3):
        call()
    return max(1, round(least / max(_seconds(call, 3), 1e-9)))
