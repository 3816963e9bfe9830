"""Writes REPORT.md and the README's speeds from the committed results, and draws the pictures.

python -m benchmarks.report
"""

from __future__ import annotations

from tools import pages

from .page import README, REPORT, RESULTS, expectations, machines, report, speed
from .pictures import PICTURES, draw


def main() -> None:
    found = machines()
    pages.write("results", report(found), REPORT)
    pages.write("speed", speed(found), README)
    pages.write("expectations", expectations(found), README)
    for name, rows in found.items():
        draw(rows, RESULTS / name)
    print(f"wrote {REPORT}, the speeds in {README} and {len(PICTURES)} pictures for each machine")


if __name__ == "__main__":
    main()
