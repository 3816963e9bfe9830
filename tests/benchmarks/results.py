"""Result rows made up for the tests, in the shape that the race writes them."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.critic_losses import USUAL

Row = dict[str, Any]


def row(suite: str, case: str, contestant: str, seconds: list[float], **more: Any) -> Row:
    """A timed contestant; ``speedup`` and its interval belong to the textbook of the same case."""
    return {
        "suite": suite, "case": case, "contestant": contestant, "seconds": seconds,
        "median_s": sorted(seconds)[len(seconds) // 2], "threads": 2, "allocator": "tuned",
    } | more  # fmt: skip


def pair(suite: str, case: str, ratio: float, noise: float = 0.0, **more: Any) -> list[Row]:
    """The textbook, and wgan_fast that is ``ratio`` times as fast in every round, give or take
    ``noise``."""
    theirs = [1.0 + 0.01 * i for i in range(11)]
    factors = [1 + noise * (-1) ** i * (i % 4) / 3 for i in range(11)]
    ours = [t / ratio * f for t, f in zip(theirs, factors, strict=True)]
    return [
        row(suite, case, "textbook", theirs, **more),
        row(suite, case, "wgan_fast", ours, **more),
    ]


def steps_pair(ratio: float, case: str = "x", **more: Any) -> list[Row]:
    """The same of the suite steps, where the baseline is the usual code."""
    usual, ours = pair("steps", case, ratio, baseline=USUAL, **more)
    return [usual | {"contestant": USUAL}, ours]
