"""Loads the compiled kernels once, and remembers why it could not."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch

from .._torch_internals import has_kernel

#: What to type where the kernels are missing.
HOW_TO_BUILD = "WGAN_FAST_BUILD=cpu pip install --no-build-isolation --force-reinstall --no-deps ."
HOW_TO_BUILD_CUDA = HOW_TO_BUILD.replace("=cpu", "=cuda")

#: Why the compiled kernels are not there; None when they are.
failure: str | None = None
_library: ctypes.CDLL | None = None


def _load() -> None:
    global failure, _library
    found = sorted(Path(__file__).parents[1].glob("_C*.so"))
    if not found:
        failure = (
            "this installation has no compiled kernels (it was built with WGAN_FAST_BUILD=none, "
            "or no working C++ compiler was found)"
        )
        return
    try:
        torch.ops.load_library(found[0])
        _library = ctypes.CDLL(str(found[0]))
    except (OSError, RuntimeError) as error:
        failure = f"{found[0].name} could not be loaded: {error}"
        return
    _library.wgan_fast_cpu_settings_error.restype = ctypes.c_char_p
    wrong = _library.wgan_fast_cpu_settings_error()
    if wrong is not None:
        raise RuntimeError(f"wgan_fast: {wrong.decode()}")


@functools.cache
def serves(op: str, device_type: str) -> bool:
    """Whether a compiled kernel serves the operator ``op`` on devices of this type."""
    if device_type not in ("cpu", "cuda"):
        return False
    return has_kernel(f"wgan_fast::{op}", device_type.upper())


def why_not(op: str, device_type: str) -> str | None:
    """Why no compiled kernel serves ``op`` on this type of device; None where one does."""
    if serves(op, device_type):
        return None
    if failure is not None:
        return failure
    if device_type == "cuda":
        return "the compiled kernels were built without CUDA"
    return f"there are no compiled kernels for {device_type!r}, only for cpu and cuda"


def require(op: str, device: torch.device) -> None:
    """Raises RuntimeError unless a compiled kernel serves ``op`` on ``device``."""
    reason = why_not(op, device.type)
    if reason is not None:
        how = HOW_TO_BUILD_CUDA if device.type == "cuda" else HOW_TO_BUILD
        raise RuntimeError(
            f'backend="native" was asked for, but no compiled kernel serves {op} on {device.type}: '
            f'{reason}. Use backend="auto", or rebuild from the source folder with: {how}'
        )


def cpu_capability() -> str | None:
    """The instruction set of the CPU kernels: "avx512", "avx2" or "baseline"; None without them."""
    if _library is None:
        return None
    _library.wgan_fast_cpu_capability.restype = ctypes.c_char_p
    return _library.wgan_fast_cpu_capability().decode()


_load()
