"""What the curves of the suite growth say in numbers: slopes, crossovers, what fits in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .results import OURS, Row, against

MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Curve:
    """One contestant along one axis, in the order of the axis."""

    critic: str
    axis: str
    contestant: str
    rows: list[Row]

    @property
    def values(self) -> list[int]:
        return [row["value"] for row in self.rows]


def curves_of(rows: list[Row], column: str) -> list[Curve]:
    """The curves of a column, "median_s" or "peak_bytes"."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if column in row:
            found.setdefault((row["critic"], row["axis"], row["contestant"]), []).append(row)
    return [
        Curve(*key, sorted(points, key=lambda row: row["value"])) for key, points in found.items()
    ]


def slope(curve: Curve, column: str) -> float:
    """What one more of the axis costs, between the last two points."""
    if len(curve.rows) < 2:
        return math.nan
    before, last = curve.rows[-2:]
    return (last[column] - before[column]) / (last["value"] - before["value"])


def exponent(curve: Curve) -> float:
    """p, where the time grows as value**p, between the last two points."""
    if len(curve.rows) < 2:
        return math.nan
    before, last = curve.rows[-2:]
    return math.log(last["median_s"] / before["median_s"]) / math.log(
        last["value"] / before["value"]
    )


def largest_that_fits(curve: Curve) -> tuple[int, bool]:
    """The largest value whose peak stays below 4 GiB, and whether that lies outside what was
    measured."""
    last = curve.rows[-1]
    step = slope(curve, "peak_bytes")
    if not step > 0:  # also where there is but one point
        return last["value"], False
    value = int(last["value"] + (MEMORY - last["peak_bytes"]) / step)
    return value, value > last["value"]


def crossover(curve: Curve, others: list[Curve]) -> str:
    """Along the axis, where wgan_fast is faster than this contestant."""
    ours = next(
        (c for c in others if (c.critic, c.axis, c.contestant) == (curve.critic, curve.axis, OURS)),
        Curve(curve.critic, curve.axis, OURS, []),
    )
    theirs = {row["value"]: row for row in curve.rows}
    faster = [
        row["value"]
        for row in ours.rows
        if row["value"] in theirs and against(row, theirs[row["value"]])[1] > 1
    ]
    shared = [value for value in ours.values if value in theirs]
    if not shared:
        return "–"
    if not faster:
        return "nowhere"
    if faster == shared:
        return "everywhere"
    tail = shared[shared.index(faster[0]) :]
    return f"from {faster[0]} on" if faster == tail else "at " + ", ".join(map(str, faster))
