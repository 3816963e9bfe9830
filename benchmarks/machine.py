"""What a result was measured on. ``python -m benchmarks.machine`` names it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from wgan_fast import __version__
from wgan_fast.ops import _native as native


def processor() -> str:
    """What it calls itself, and the family and model: many clouds shorten the name."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in info.read_text().splitlines()]
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    name = facts.get("model name", platform.machine())
    known = [
        f"{key} {facts[f]}"
        for key, f in (("family", "cpu family"), ("model", "model"))
        if f in facts
    ]
    return ", ".join([name, *known])


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name(device: str = "cpu") -> str:
    """A name for the folder of this machine's results."""
    if device == "cuda":
        return as_folder(torch.cuda.get_device_name())
    return as_folder(f"{processor()} {cores()} cores")


def as_folder(what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")


def cache_bytes(level: int = 3) -> int | None:
    """The size of the processor's cache of this level, if the system tells."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "level").read_text().strip() == str(level):
            return int((index / "size").read_text().strip().rstrip("K")) * 1024
    return None


def commit() -> str:
    """The commit of the source folder, with a plus sign if the library has been changed since."""
    folder = Path(__file__).parent.parent
    try:
        hash_ = _git(folder, "rev-parse", "--short", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", "wgan_fast", "csrc", "setup.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return hash_ + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def describe(device: str) -> dict[str, str | int | None]:
    """The machine, the versions, the threads and the commit, for every row of a result."""
    return {
        "processor": processor(),
        "cores": cores(),
        "l3_bytes": cache_bytes(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "instruction_set": native.cpu_capability() or "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "jax": _jax_version(),
        "wgan_fast": __version__,
        "commit": commit(),
    }


def _jax_version() -> str:
    try:
        import jax
    except ImportError:
        return "not installed"
    return jax.__version__


if __name__ == "__main__":
    print(name())
