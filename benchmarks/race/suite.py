"""One suite, raced in this process; ``benchmarks.race`` starts it with the right environment."""

from __future__ import annotations

import argparse
import functools
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ..contestants import COMPILED, columns_of
from ..contestants.penalties import why_not_native
from ..machine import describe
from ..suites import SUITES
from ..suites.case import Case
from ..timing import (
    Timing,
    copy_bandwidth,
    interleaved,
    matmul_rate,
    ratio,
    reference_workload,
)
from . import memory
from .agreement import Entered, enter
from .counts import COUNTS, counts, counts_alone

Row = dict[str, Any]

#: The least rounds of one case, and the seconds that more of them may fill, up to 30.
PACE = {
    "kernels": (5, 30.0),
    "penalty": (5, 8.0),
    "overhead": (5, 8.0),
    "step": (5, 8.0),
    "steps": (5, 8.0),
    "derivatives": (5, 8.0),
    "growth": (3, 4.0),
}
QUICK_PACE = (3, 0.2)

REFERENCE = "reference workload"


@dataclass(frozen=True)
class Speed:
    """What the machine can do, measured just before the race."""

    copy_bytes_per_s: float
    matmul_flops_per_s: float


def measure_speed(quick: bool, device: str) -> Speed:
    return Speed(
        copy_bandwidth((16 if quick else 256) << 20, device),
        matmul_rate(512 if quick else 2048, device),
    )


def race(speed: Speed, case: Case, quick: bool, device: str) -> list[Row]:
    """The result rows of one case: one for each contestant, also for those that could not run."""
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    common = {"suite": case.suite, "case": case.name, "baseline": case.baseline}
    common |= {**case.details, "measured": began}
    who = case.contestants if case.timed else case.memory
    rows = {name: common | {"contestant": name} for name in who}
    if case.timed:
        entered = enter(case)
        for name in entered.unavailable:
            rows[name]["unavailable"] = entered.unavailable[name]
        for name in entered.failed:
            rows[name]["failed"] = entered.failed[name]
        for name, result in timed(case, entered, quick, device).items():
            rows[name] |= result | {"floor_s": floor(case, speed)}
        for name, exact in counts(case, entered.steps).items():
            rows[name] |= exact
    for name in case.memory:
        rows[name] |= memory.measured(case, name, quick, device)
    return list(rows.values())


def floor(case: Case, speed: Speed) -> float:
    """The least time that the machine needs to move the bytes or to do the operations."""
    moving = case.traffic_bytes / speed.copy_bytes_per_s
    return max(moving, case.floor_flops() / speed.matmul_flops_per_s)


def count(case: Case, quick: bool, device: str) -> list[Row]:
    """The exact numbers alone, in rows that name their contestant."""
    if case.timed:
        found = {name: counts_alone(case, name) for name in case.contestants}
    else:  # it may need all the memory that there is, so each has a process of its own
        counted = [name for name in case.memory if name not in COMPILED]
        found = {name: memory.measured(case, name, quick, device) for name in counted}
    common = {"suite": case.suite, "case": case.name}
    return [
        common | {"contestant": name, **{key: row[key] for key in COUNTS if key in row}}
        for name, row in found.items()
        if "calls" in row
    ]


def timed(case: Case, entered: Entered, quick: bool, device: str) -> dict[str, Row]:
    if case.baseline not in entered.steps:
        return {}
    calls: dict[str, Callable[[], object]] = {
        name: _without_factors(step) for name, step in entered.steps.items()
    }
    calls[REFERENCE] = reference_workload(device)
    least, budget = QUICK_PACE if quick else PACE[case.suite]
    timings = interleaved(calls, rounds=(least, 5 if quick else 30), budget=budget, device=device)
    reference = timings.pop(REFERENCE)
    low, high = reference.spread
    machine = {"reference_s": reference.median, "reference_drift": high / low}
    return {
        name: _row(timing, timings[case.baseline])
        | machine
        | {"first_call_s": entered.first_call[name]}
        | columns_of(entered.steps[name])
        for name, timing in timings.items()
    }


def _without_factors(step: Callable[[Any], object]) -> Callable[[], object]:
    return lambda: step(None)


def _row(timing: Timing, baseline: Timing) -> Row:
    q20, q80 = timing.spread
    speedup = ratio(baseline, timing)
    return {
        "median_s": timing.median,
        "q20_s": q20,
        "q80_s": q80,
        "rounds": len(timing.seconds),
        "speedup": speedup.value,
        "speedup_low": speedup.low,
        "speedup_high": speedup.high,
        "seconds": [float(f"{value:.4g}") for value in timing.seconds],
    }


def line(row: Row) -> str:
    """A result row for the eye."""
    name = f"  {row['contestant']:<27}"
    for outcome in ("failed", "unavailable"):
        if outcome in row:
            return f"{name} {outcome.upper()}: {row[outcome]}"
    parts = [name]
    if "median_s" in row:
        interval = f"[{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]"
        parts.append(f"{row['median_s'] * 1e3:10.3f} ms  {row['speedup']:5.2f}x {interval:<14}")
        if row["floor_s"]:
            parts.append(f"{row['median_s'] / row['floor_s']:7.2f}x floor")
    if "calls" in row:
        parts.append(f"{row['calls']:5} calls  {row['bytes'] / 1e9:8.4g} GB")
    if "passes" in row:
        parts.append(f"{row['passes']:6.2f} passes")
    if "peak_bytes" in row:
        parts.append(f"{row['peak_bytes'] / 2**20:9.1f} MiB")
    return "  ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--allocator", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--anchors", action="store_true")
    parser.add_argument("--pure", action="store_true", help="there must be no compiled kernels")
    parser.add_argument("--case", default="")
    parser.add_argument("--counts-only", action="store_true", help="count, and time nothing")
    options = parser.parse_args()
    if options.pure and why_not_native(options.device) is None:
        parser.error("--pure was asked for, but the library found its compiled kernels")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    setting = describe(options.device) | {"allocator": options.allocator, "quick": options.quick}
    if options.counts_only:
        measure = count
    else:
        speed = measure_speed(options.quick, options.device)
        setting |= {
            "copy_gb_per_s": speed.copy_bytes_per_s / 1e9,
            "matmul_gflops": speed.matmul_flops_per_s / 1e9,
        }
        measure = functools.partial(race, speed)
    rows: list[Row] = []
    for case in SUITES[options.suite](options.quick, options.device):
        if (options.anchors and not case.anchor) or options.case not in case.name:
            continue
        began = time.monotonic()
        results = measure(case, options.quick, options.device)
        print(f"{case.name}  ({time.monotonic() - began:.1f} s)")
        print("\n".join(map(line, results)), flush=True)
        rows += [result | setting for result in results]
        gc.collect()
    options.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
