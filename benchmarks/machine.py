"""What a result was measured on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from wgan_fast import __version__, native


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cache_bytes(level: int = 3) -> int | None:
    """The size of the processor's cache of this level, if the system tells."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "level").read_text().strip() == str(level):
            return int((index / "size").read_text().strip().rstrip("K")) * 1024
    return None


def commit() -> str:
    """The commit of the source folder, with a plus sign if it has been changed since."""
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        name = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")


def describe() -> dict[str, str | int]:
    """The machine, the versions, the threads and the commit, for every row of a result."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "instruction_set": native.cpu_capability() or "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "wgan_fast": __version__,
        "commit": commit(),
    }
