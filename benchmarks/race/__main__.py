"""Runs suites of comparisons and writes what they measured.

    python -m benchmarks.race --suite penalty step --json race.json --csv race.csv

Every suite runs in a process of its own, once with all threads and the tuned allocator, and its
anchor cases again with the allocator's default settings and with one thread. The suite overhead
runs a second time, with a copy of the library that has no compiled kernels.

    python -m benchmarks.race --counts-only --json race.json --csv race.csv

times nothing, and puts the exact numbers of today's library into the rows that the file has.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..suites import SUITES
from .counts import COUNTS
from .settings import Setting, settings_of, without_kernels

Row = dict[str, Any]


def run(suite: str, setting: Setting, options: argparse.Namespace) -> list[Row]:
    """The rows of one suite in one setting, measured by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows.json")
        command = [sys.executable, "-m", "benchmarks.race.suite", suite, str(out)]
        command += ["--threads", str(setting.threads), "--allocator", setting.allocator]
        command += ["--device", options.device]
        command += ["--quick"] if options.quick else []
        command += ["--anchors"] if setting.anchors_only else []
        command += ["--counts-only"] if options.counts_only else []
        command += ["--case", options.case] if options.case else []
        environment, place = setting.environment(), None
        if setting.pure:
            command += ["--pure"]
            environment, place = environment | without_kernels(Path(folder)), folder
        done = subprocess.run(command, env=environment, cwd=place)
        if done.returncode != 0:
            raise SystemExit(f"suite {suite} broke off with exit status {done.returncode}")
        return json.loads(out.read_text())


def merge(rows: list[Row], counted: list[Row]) -> int:
    """Puts what was counted into the rows of the same case and contestant, whatever their setting,
    and the commit that it was counted at; returns how many rows these are."""

    def key(row: Row) -> tuple[str, str, str]:
        return row["suite"], row["case"], row["contestant"]

    found = {key(row): row for row in counted}
    merged = 0
    for row in rows:
        new = found.get(key(row))
        if new is not None:
            row |= {name: new[name] for name in COUNTS if name in new} | {"counted": new["commit"]}
            merged += 1
    return merged


def write(rows: list[Row], json_path: Path | None, csv_path: Path | None) -> None:
    """All rows; the CSV leaves out the single measurements."""
    for path in (json_path, csv_path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if json_path is not None:
        lines = ",\n".join(json.dumps(row) for row in rows)
        json_path.write_text(f"[\n{lines}\n]\n")
    if csv_path is not None:
        columns = dict.fromkeys(key for row in rows for key in row if key != "seconds")
        with csv_path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.race", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--quick", action="store_true", help="a few small cases of every suite")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, help="only with so many threads")
    parser.add_argument("--allocator", choices=["default", "tuned"], help="only with this one")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument(
        "--counts-only", action="store_true", help="count, into the rows that --json has already"
    )
    options = parser.parse_args(arguments)
    if options.counts_only:
        if not (options.json and options.json.exists()):
            parser.error("--counts-only needs --json with a file of results")
        options.threads = options.threads or 1  # in one setting: they are the same in all
    return options


def main() -> int:
    options = parse()
    began = time.monotonic()
    rows: list[Row] = json.loads(options.json.read_text()) if options.counts_only else []
    for suite in options.suite:
        for setting in settings_of(suite, options):
            print(f"\n{suite}: {setting}", flush=True)
            new = run(suite, setting, options)
            if options.counts_only:
                print(f"{merge(rows, new)} rows of {options.json} have them now")
            else:
                rows += new
            write(rows, options.json, options.csv)  # at once, should the next one break off
    failed = [row for row in rows if "failed" in row]
    print(f"\n{len(rows)} results in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
