"""Whether a change made anything slower beyond noise.

    python -m benchmarks.compare OLD.json NEW.json

Compared is how much faster each contestant is than the baseline of the same run, mostly the
textbook, so that a slower machine or a busier hour does not count. Exit status 1 if anything is
slower: its speed-up has gone down by more than the margin, and the 99 % interval agrees.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from .report.results import Row, baseline_of, load
from .timing import interval, resampled_medians

#: Two processes that run the same code differ by this much, from where their memory happens to lie.
MARGIN = 0.05

Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Change:
    """The new time over the old, both in baselines of their own run; above 1 is slower."""

    key: Key
    ratio: float
    low: float
    high: float

    def verdict(self, margin: float) -> str:
        if self.low > 1 and self.ratio > 1 + margin:
            return "SLOWER"
        return "faster" if self.high < 1 and self.ratio < 1 - margin else "same"


def key_of(row: Row) -> Key:
    return row["suite"], row["case"], row["contestant"], row["threads"], row["allocator"]


def changes(old: list[Row], new: list[Row]) -> list[Change]:
    """The change of every contestant that was timed in both."""
    before, after = ({key_of(row): row for row in rows if "seconds" in row} for rows in (old, new))
    found = []
    for key in before.keys() & after.keys():
        baseline = (*key[:2], baseline_of(after[key]), *key[3:])
        if key != baseline and baseline in before and baseline in after:
            found.append(_change(key, *((rows[key], rows[baseline]) for rows in (before, after))))
    return sorted(found, key=lambda change: change.ratio, reverse=True)


def _change(key: Key, old: tuple[Row, Row], new: tuple[Row, Row]) -> Change:
    samples = []
    for row, baseline in (old, new):
        mine, theirs = resampled_medians([row["seconds"], baseline["seconds"]])
        samples.append(mine / theirs)
    # The runs have nothing to do with each other: pair their resamples at random.
    ratios = samples[1] / samples[0].flip(0)
    low, high = interval(ratios, confidence=0.99)
    return Change(key, ratios.median().item(), low, high)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--margin", type=float, default=MARGIN)
    options = parser.parse_args()
    found = changes(load(options.old), load(options.new))
    if not found:
        print("the two files have no timed case in common")
        return 2
    verdicts = [change.verdict(options.margin) for change in found]
    for change, verdict in zip(found, verdicts, strict=True):
        suite, case, contestant, threads, allocator = change.key
        if verdict != "same":
            print(
                f"{verdict:<7} {change.ratio:5.2f}x the time ({change.low:.2f} to "
                f"{change.high:.2f})  {suite}: {case}, {contestant}, threads {threads}, {allocator}"
            )
    counts = {verdict: verdicts.count(verdict) for verdict in ("SLOWER", "faster", "same")}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["SLOWER"] else 0


if __name__ == "__main__":
    sys.exit(main())
