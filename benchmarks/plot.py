"""Draws the pictures of a result file; it measures nothing.

python -m benchmarks.plot race.json --to pictures
python -m benchmarks.plot race.json --graphs docs/images/captured.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .report.pictures import draw, draw_graphs
from .report.results import load


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.plot", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("results", type=Path, help="what benchmarks.race wrote with --json")
    parser.add_argument("--to", type=Path, help="folder; by default that of the results")
    parser.add_argument("--graphs", type=Path, help="draw the picture of docs/captured.md alone")
    options = parser.parse_args()
    if options.graphs:
        draw_graphs(load(options.results), options.graphs)
        return
    for path in draw(load(options.results), options.to or options.results.parent):
        print(path)


if __name__ == "__main__":
    main()
