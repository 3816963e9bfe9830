"""Runs a suite of comparisons and writes what it measured.

    python -m benchmarks.race --suite kernels --json kernels.json --csv kernels.csv

Every case is first checked: contestants that disagree are reported as failed, and not timed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .cases import kernels
from .cases.case import Case
from .machine import describe
from .timing import Timing, interleaved

SUITES: dict[str, Callable[[bool], Iterator[Case]]] = {"kernels": kernels.cases}

#: glibc gives large blocks back to the system at once and pays page faults for each of them again.
#: These settings keep them, for all contestants alike.
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}


def copy_bandwidth(nbytes: int = 256 << 20) -> float:
    """Bytes read and written per second by ``Tensor.copy_`` on arrays far above the caches."""
    source = torch.zeros(nbytes // 4)
    target = torch.ones_like(source)
    timing = interleaved({"copy": lambda: target.copy_(source)}, rounds=9)
    return 2 * nbytes / timing["copy"].median


def agree(case: Case) -> str | None:
    """None if every contestant gives the baseline's result, otherwise which does not."""
    results = {
        name: _flat(getattr(run, "agreement", run)()) for name, run in case.contestants.items()
    }
    expected = results[case.baseline]
    for name, values in results.items():
        for value, other in zip(values, expected, strict=True):
            error = (value.double() - other.double()).norm() / other.double().norm()
            if not bool(error <= case.tolerance):
                return f"{name} differs from {case.baseline} by {error:.1e}"
    return None


def _flat(result: Any) -> list[Tensor]:
    return [part.detach() for part in (result if isinstance(result, tuple) else (result,))]


def race(case: Case, bandwidth: float, rounds: int) -> list[dict[str, Any]]:
    """The result rows of one case."""
    common = {"suite": case.suite, "case": case.name, **case.details}
    failure = agree(case)
    if failure is not None:
        return [common | {"contestant": name, "failed": failure} for name in case.contestants]
    timings = interleaved(case.contestants, rounds=rounds)
    floor = case.traffic_bytes / bandwidth
    return [
        common | {"contestant": name, "floor_s": floor, **row(timing, timings[case.baseline])}
        for name, timing in timings.items()
    ]


def row(timing: Timing, baseline: Timing) -> dict[str, float]:
    low, high = timing.spread
    return {
        "median_s": timing.median,
        "q20_s": low,
        "q80_s": high,
        "speedup": baseline.median / timing.median,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=SUITES, default="kernels")
    parser.add_argument("--quick", action="store_true", help="a few small cases, for a first look")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=None, help="measurements of each contestant")
    parser.add_argument("--allocator", choices=["default", "tuned"], default="tuned")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    if options.allocator == "tuned" and not TUNED_ALLOCATOR.items() <= os.environ.items():
        # The allocator reads its settings when the process starts.
        command = [sys.executable, "-m", "benchmarks.race", *sys.argv[1:]]
        return subprocess.run(command, env=os.environ | TUNED_ALLOCATOR).returncode
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    bandwidth = copy_bandwidth(16 << 20 if options.quick else 256 << 20)
    setting = {**describe(), "allocator": options.allocator, "copy_gb_per_s": bandwidth / 1e9}
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    rows = []
    for case in SUITES[options.suite](options.quick):
        results = race(case, bandwidth, options.rounds or (5 if options.quick else 30))
        for result in results:
            print(line(result))
        rows += [result | setting for result in results]
    write(rows, options.json, options.csv)
    return 1 if any("failed" in result for result in rows) else 0


def line(result: dict[str, Any]) -> str:
    name = f"{result['case']:<55} {result['contestant']:<14}"
    if "failed" in result:
        return f"{name} FAILED: {result['failed']}"
    over = result["median_s"] / result["floor_s"] if result["floor_s"] else float("nan")
    return (
        f"{name} {result['median_s'] * 1e6:10.1f} us  {result['speedup']:5.2f}x textbook"
        f"  {over:6.2f}x traffic"
    )


def write(rows: list[dict[str, Any]], json_path: Path | None, csv_path: Path | None) -> None:
    if json_path is not None:
        json_path.write_text(json.dumps(rows, indent=1) + "\n")
    if csv_path is not None:
        columns = list(dict.fromkeys(key for result in rows for key in result))
        with csv_path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
