"""Result files, read and asked: what the report, the pictures and the comparison have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..suites.case import BASELINE
from ..timing import Timing, ratio

Row = dict[str, Any]

OURS = "wgan_fast"


def load(path: Path) -> list[Row]:
    return json.loads(path.read_text())


def where(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows that have these values in these columns."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def main_setting(rows: list[Row]) -> list[Row]:
    """The rows of the main setting: the tuned allocator, and the most threads of each suite."""
    most: dict[str, int] = {}
    for row in rows:
        most[row["suite"]] = max(most.get(row["suite"], 0), row["threads"])
    return [
        row for row in rows if row["threads"] == most[row["suite"]] and row["allocator"] == "tuned"
    ]


def timed(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if "median_s" in row]


def by_case(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Case name -> contestant -> its row."""
    cases: dict[str, dict[str, Row]] = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["contestant"]] = row
    return cases


def baseline_of(row: Row) -> str:
    """The contestant that a row's speed-up is against; rows of older races do not tell it."""
    return row.get("baseline", BASELINE)


def against(row: Row, other: Row) -> tuple[float, float, float]:
    """How many times faster ``row`` is than ``other`` of the same case, and the 95 % interval."""
    found = ratio(Timing(other["seconds"]), Timing(row["seconds"]))
    return found.value, found.low, found.high


def verdict(low: float, high: float) -> str:
    """What an interval of a ratio of times says: "faster", "slower", or "tie" if it holds 1."""
    return "faster" if low > 1 else "slower" if high < 1 else "tie"


def contestants(rows: Iterable[Row]) -> list[str]:
    """All names in the order in which they first race."""
    return list(dict.fromkeys(row["contestant"] for row in rows))


def ratio_text(low: float, value: float, high: float) -> str:
    return f"{value:.2f}x ({low:.2f} to {high:.2f})"


def seconds_text(seconds: float) -> str:
    """Three digits and a unit; a dash where there is no number."""
    if math.isnan(seconds):
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return (
                f"{seconds * factor:.3g} {unit}"
                if seconds * factor < 1000
                else (f"{seconds * factor:.0f} {unit}")
            )
    return f"{seconds * 1e9:.3g} ns"


def moved_text(count: int) -> str:
    """Bytes that are read and written, in powers of ten as bandwidths are."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g} {unit}".replace(". ", " ")
    return f"{count} B"


def bytes_text(count: float) -> str:
    """MiB or GiB; a dash where there is no number."""
    if math.isnan(count):
        return "–"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
