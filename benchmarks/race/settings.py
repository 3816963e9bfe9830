"""What a process must know when it starts: threads, allocator, and whether it finds the kernels."""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import wgan_fast

from ..contestants.penalties import why_not_native
from ..machine import cores

#: Where the packages ``benchmarks`` and ``tools`` lie.
ROOT = Path(__file__).parents[2]

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
        pure: whether the library it finds has no compiled kernels.
    """

    threads: int
    allocator: str = "tuned"
    anchors_only: bool = False
    pure: bool = False

    def __str__(self) -> str:
        build = ", no compiled kernels" if self.pure else ""
        return f"{self.threads} threads, {self.allocator} allocator{build}"

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
    main = Setting(threads, options.allocator or "tuned")
    if suite == "overhead" and why_not_native(options.device) is None:
        return [main, replace(main, pure=True)]
    if options.threads or options.allocator:
        return [main]
    if options.device != "cpu" or suite not in ("kernels", "penalty"):
        return [main]
    default = Setting(threads, "default", anchors_only=True)
    if options.quick:
        return [main, default] if suite == "kernels" else [main]
    single = [Setting(1, anchors_only=True)] if threads > 1 else []
    return [main, default, *single]


def without_kernels(folder: Path) -> dict[str, str]:
    """The environment of a process that finds the library as it is installed without a compiler.

    That is a copy in ``folder``, which must be the process's working folder, without the compiled
    library; everything else the process finds where this one does.
    """
    package = Path(wgan_fast.__file__).parent
    compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(package, folder / package.name, ignore=compiled)
    places = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(places)}
