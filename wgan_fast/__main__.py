"""``python -m wgan_fast``: what is installed, which backend serves each operator, and why."""

from __future__ import annotations

import os
import platform
import sys

import torch

from . import __version__, fast_gradient_penalty
from ._torch_internals import LOOKED_UP
from .ops import REGISTRY, _native


def versions() -> list[str]:
    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        f"wgan_fast  {__version__}",
        f"torch      {torch.__version__} (CUDA {torch.version.cuda or 'none'})",
        f"python     {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"devices    {', '.join(devices)}",
        *missing_names(),
    ]


def missing_names() -> list[str]:
    """Which private names this PyTorch does not have, as one that is newer than the tests may."""
    missing = [path for path, found in LOOKED_UP.items() if not found]
    if not missing:
        return []
    names = ", ".join(f"torch.{path}" for path in missing)
    return [f"missing    {names}: the same results, in PyTorch's own way (docs/internals.md)"]


def backends(device_type: str) -> list[str]:
    """Which backend serves each operator on this type of device; why not the compiled kernels."""
    lines = [f"on {device_type}"]
    reasons: set[str] = set()
    for name in REGISTRY:
        reason = _native.why_not(name, device_type)
        lines.append(f"  {name:<30} {'native' if reason is None else 'pytorch'}")
        if reason is not None:
            reasons.add(reason)
    if not reasons and device_type == "cpu":
        lines.append(f"  instruction set: {_native.cpu_capability()}")
    how = _native.HOW_TO_BUILD_CUDA if device_type == "cuda" else _native.HOW_TO_BUILD
    for reason in sorted(reasons):
        lines += [f"  why not native: {reason}", f"  what to do, in the source folder: {how}"]
    return lines


def works(device: str) -> bool:
    """Whether a penalty can be computed and differentiated."""
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).to(
        device
    )
    real, fake = torch.randn(2, 4, 3, device=device)
    penalty = fast_gradient_penalty(critic, real, fake)
    penalty.backward()
    return bool(torch.isfinite(penalty))


def main() -> int:
    print("\n".join(versions()))
    ok = True
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        print("\n" + "\n".join(backends(device)))
        worked = works(device)
        print(f"  fast_gradient_penalty: {'works' if worked else 'FAILED'}")
        ok = ok and worked
    if not torch.cuda.is_available():
        print("\non cuda\n  torch sees no CUDA device")
    return 0 if ok else 1


def run() -> int:
    """:func:`main`, for a reader that may have seen enough, such as ``head``."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be written at the end must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(run())
