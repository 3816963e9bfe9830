"""The peak memory of one contestant, in a process of its own.

    python -m benchmarks.race.memory SUITE CASE CONTESTANT

prints ``peak_bytes``, by which the resident memory grows at its peak during one warm call, above
the weights, the inputs and the libraries, and the calls and bytes of another one, where they can be
counted. The allocator hands every block from 64 KiB on back to the system when it is freed, for all
contestants alike, so that what is resident is what is in use.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ..contestants import Step, UnavailableError
from ..suites import SUITES
from ..suites.case import Case
from .counts import counts

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

UNAVAILABLE = 3  # exit status


def measured(case: Case, contestant: str, quick: bool, device: str) -> dict[str, Any]:
    """What a contestant's process tells, or why it does not, for its result row."""
    if device == "cpu" and not Path("/proc/self/clear_refs").exists():
        return {"unavailable": "peak memory is measured on Linux only"}
    command = [sys.executable, "-m", "benchmarks.race.memory", case.suite, case.name, contestant]
    command += ["--device", device, "--threads", str(torch.get_num_threads())]
    command += ["--quick"] if quick else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(command, env=environment | ALLOCATOR, capture_output=True, text=True)
    said = (done.stderr.strip() or "no message").splitlines()[-1]
    if done.returncode == UNAVAILABLE:
        return {"unavailable": said}
    if done.returncode != 0:
        return {"failed": said}
    return json.loads(done.stdout.splitlines()[-1])


def row_of(case: Case, contestant: str, device: str) -> dict[str, Any]:
    """``peak_bytes``, and ``calls`` and ``bytes`` where they can be counted."""
    step = case.contestants[contestant](case.dtype, None)
    step(None)
    return {"peak_bytes": peak_bytes(step, device)} | counts(case, {contestant: step}).get(
        contestant, {}
    )


def peak_bytes(step: Step, device: str) -> int:
    """Of a call of a step that is warm."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(None)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    step(None)
    return _status("VmHWM") - before


def _status(what: str) -> int:
    """A line of this process's status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status does not tell {what}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("case")
    parser.add_argument("contestant")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for case in SUITES[options.suite](options.quick, options.device):
        if case.name == options.case:
            try:
                print(json.dumps(row_of(case, options.contestant, options.device)))
            except UnavailableError as reason:
                print(reason, file=sys.stderr)
                return UNAVAILABLE
            return 0
    parser.error(f"no case is called {options.case!r}")


if __name__ == "__main__":
    sys.exit(main())
