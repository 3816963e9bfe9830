"""Runs suites of comparisons and writes what they measured.

    python -m benchmarks.race --suite penalty step --json race.json --csv race.csv

Every suite runs in a process of its own, once with all threads and the tuned allocator, and its
anchor cases again with the allocator's default settings and with one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .machine import cores
from .suites import SUITES

Row = dict[str, Any]

#: glibc gives large blocks back to the system at once and pays page faults for each of them again.
#: With thresholds that no block reaches it keeps them, for all contestants alike.
_NEVER = str(2**40)
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": _NEVER,
    "MALLOC_TRIM_THRESHOLD_": _NEVER,
    "MALLOC_TOP_PAD_": "67108864",
}


@dataclass(frozen=True)
class Setting:
    """What a process must know when it starts.

    Args:
        threads: for PyTorch, OpenMP and JAX.
        allocator: "default" or "tuned".
        anchors_only: whether it races the anchor cases alone.
    """

    threads: int
    allocator: str = "tuned"
    anchors_only: bool = False

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
        threads = str(self.threads)
        kept |= {"OMP_NUM_THREADS": threads, "PJRT_NPROC": threads}
        return kept | (TUNED_ALLOCATOR if self.allocator == "tuned" else {})


def settings_of(suite: str, options: argparse.Namespace) -> list[Setting]:
    """The settings a suite runs in: the one asked for, or the main one and two for comparison."""
    # A quick race is no measurement, and threads that wait for each other make it slow where the
    # cores are busy.
    threads = options.threads or (1 if options.quick else cores())
    if options.threads or options.allocator:
        return [Setting(threads, options.allocator or "tuned")]
    main = Setting(threads)
    if options.device != "cpu" or suite not in ("kernels", "penalty"):
        return [main]
    default = Setting(threads, "default", anchors_only=True)
    if options.quick:
        return [main, default] if suite == "kernels" else [main]
    single = [Setting(1, anchors_only=True)] if threads > 1 else []
    return [main, default, *single]


def run(suite: str, setting: Setting, options: argparse.Namespace) -> list[Row]:
    """The rows of one suite in one setting, measured by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows.json")
        command = [sys.executable, "-m", "benchmarks.suite", suite, str(out)]
        command += ["--threads", str(setting.threads), "--allocator", setting.allocator]
        command += ["--device", options.device]
        command += ["--quick"] if options.quick else []
        command += ["--anchors"] if setting.anchors_only else []
        command += ["--case", options.case] if options.case else []
        done = subprocess.run(command, env=setting.environment())
        if done.returncode != 0:
            raise SystemExit(f"suite {suite} broke off with exit status {done.returncode}")
        return json.loads(out.read_text())


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
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    began = time.monotonic()
    rows: list[Row] = []
    for suite in options.suite:
        for setting in settings_of(suite, options):
            print(
                f"\n{suite}: {setting.threads} threads, {setting.allocator} allocator", flush=True
            )
            rows += run(suite, setting, options)
            write(rows, options.json, options.csv)  # at once, should the next one break off
    failed = [row for row in rows if "failed" in row]
    print(f"\n{len(rows)} results in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
