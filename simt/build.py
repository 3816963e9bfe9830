"""Builds the CUDA kernels for the simulated GPU, in one of several modes, and remembers the result.

plain   g++                    do the kernels compute the right thing
trace   g++, counting calls    what do they ask of memory
asan    g++, Address- and UndefinedBehaviorSanitizer
tsan    clang-22, ThreadSanitizer, in blocks of 64 threads, float alone

``plain`` and ``trace`` are Python modules, ``asan`` and ``tsan`` programs, whose ``main`` the
caller has. Everything lies below ``build/simt``, named by a hash of all that went into it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from .translate import translate

HERE = Path(__file__).parent
ROOT = HERE.parent
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "simt"
_HEADERS = (".h", ".cuh")
RUNTIME = ("scheduler", "fiber", "kernel_name", "race_detector", "shared_memory")
COMMON_FLAGS = (
    *("-std=c++17", "-O2", "-g1", "-fPIC", "-fvisibility=hidden"),
    *("-Wall", "-Wno-unknown-pragmas", "-Wno-pass-failed"),
    *("-ffp-contract=off", "-fno-strict-aliasing"),
)


@dataclass(frozen=True)
class Mode:
    compiler: str
    kernel_flags: tuple[str, ...]  # for the kernels alone
    runtime_flags: tuple[str, ...]  # for everything else
    link_flags: tuple[str, ...]
    namespace: str | None  # of the Python module and of its operators; None for a program
    float_only: bool = False


_ASAN = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_TSAN = ("-fsanitize=thread",)
_SMALL = ("-DWGAN_FAST_CUDA_THREADS=64",)
_TORCH = Path(torch.__file__).parent
_MODULE = ("-shared", "-Wl,-Bsymbolic", f"-L{_TORCH / 'lib'}", "-ltorch_cpu", "-lc10")
MODES = {
    "plain": Mode("g++", (), (), _MODULE, "simulated_gpu_plain"),
    "trace": Mode(
        *("g++", (*_TSAN, "-fno-tree-sra"), ("-DSIMT_TRACE",), _MODULE, "simulated_gpu_trace")
    ),
    "asan": Mode("g++", _ASAN, (*_ASAN, "-DSIMT_ASAN"), _ASAN, None),
    "tsan": Mode("clang++-22", (*_TSAN, *_SMALL), ("-DSIMT_TSAN", *_SMALL), _TSAN, None, True),
}
#: The folders of csrc that are used: the kernels, and the operators around them.
FOLDERS = ("common", "cuda", "torch")


@functools.cache
def cuda_include() -> Path | None:
    """The folder of the CUDA toolkit's headers, or None."""
    from torch.utils.cpp_extension import CUDA_HOME

    home = CUDA_HOME or os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    found = Path(home) / "include"
    return found if (found / "cuda_fp16.h").exists() else None


def why_not(mode: str) -> str | None:
    """Why this machine cannot build this mode; None if it can."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the simulated GPU needs Linux on x86-64"
    if cuda_include() is None:
        return "the headers of the CUDA toolkit were not found; set CUDA_HOME"
    compiler = MODES[mode].compiler
    if shutil.which(compiler) is None:
        return f"{compiler} was not found; type: make install-cuda-tools"
    return None


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def _make(out: Path, *command: object) -> None:
    """Runs a command that writes ``-o out``, which another process may be making, too."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    _run(*command, "-o", scratch)
    scratch.replace(out)


def _texts(edits: dict[str, str], float_only: bool) -> dict[str, str]:
    """The files of csrc as the simulated GPU is compiled from them, by folder and name.

    Args:
        edits: other texts for some files of csrc/cuda, by name.
        float_only: leave the other element types out.
    """
    paths = [path for folder in FOLDERS for path in sorted((CSRC / folder).iterdir())]
    texts = {f"{path.parent.name}/{path.name}": path.read_text() for path in paths}
    texts |= {f"cuda/{name}": text for name, text in edits.items()}
    if float_only:
        every_type = re.compile(r"^  F\(Args, (?!float)\w+\)\s*\\?\n", re.MULTILINE)
        texts["common/arguments.h"], left_out = every_type.subn("\n", texts["common/arguments.h"])
        assert left_out == 3, "the types in WGAN_FAST_FOR_EACH_TYPE of csrc/common/arguments.h"
    for name, text in texts.items():
        if name.startswith("cuda/"):
            texts[name] = f'#line 1 "csrc/{name}"\n{translate(text)}'
    texts["torch/backends.h"] = (HERE / "backends.h").read_text()
    return texts


def _translated(edits: dict[str, str], float_only: bool) -> tuple[Path, str]:
    """The folder of the translated files, and a hash of the headers in it."""
    texts = _texts(edits, float_only)
    folder = BUILD / "translated" / _digest(*texts.items())
    for name, text in texts.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(text)
    return folder, _digest(*(t for name, t in texts.items() if name.endswith(_HEADERS)))


def _headers(*folders: Path) -> str:
    """A hash of the headers in some folders."""
    paths = [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix in _HEADERS]
    return _digest(*(path.read_text() for path in paths))


def _compile(mode: Mode, source: Path, flags: Sequence[object], key: str) -> Path:
    """The object file of ``source``; ``key`` stands for the contents of all that it includes."""
    command = [mode.compiler, *COMMON_FLAGS, *flags, f"-isystem{cuda_include()}"]
    out = BUILD / "objects" / f"{source.stem}-{_digest(*command, key, source.read_text())}.o"
    _make(out, *command, "-x", "c++", "-c", source)
    return out


def _host_flags(mode: Mode, folder: Path, float_only: bool) -> list[object]:
    """For the files that call the kernels: the operators and the Python module, or the program."""
    flags: list[object] = [*mode.runtime_flags, f"-I{folder}", f"-I{HERE}"]
    if float_only:
        flags.append("-DSIMT_FLOAT_ONLY")
    if mode.namespace is not None:
        includes = (sysconfig.get_path("include"), _TORCH / "include")
        flags += [f"-DSIMT_MODULE={mode.namespace}", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
        flags += [f"-isystem{path}" for path in includes]
    return flags


def build(name: str, program: Path | None = None, *, edits: dict[str, str] | None = None) -> Path:
    """Builds a mode, if that was not done before; returns the module or program.

    Args:
        name: a key of ``MODES``.
        program: the file with ``main``, in a mode that makes a program.
        edits: other texts for some files of csrc/cuda, by file name: planted bugs. Then for float
            alone, which is quicker.
    """
    mode = MODES[name]
    float_only = mode.float_only or edits is not None
    folder, kernel_headers = _translated(edits or {}, float_only)
    runtime_headers = _headers(HERE / "device", HERE / "runtime")
    kernels = sorted((folder / "cuda").glob("*.cu"))
    if mode.namespace is not None:
        hosts = [HERE / "module.cpp", *(folder / "torch" / f"{k.stem}.cpp" for k in kernels)]
    elif program is not None:
        hosts = [program]
    else:
        raise ValueError(f"the mode {name} makes a program: which file has its main?")

    kernel_flags = (*mode.kernel_flags, "-include", HERE / "device" / "simt.h")
    host_flags = _host_flags(mode, folder, float_only)
    runtime = [*RUNTIME, *(["trace"] if name == "trace" else [])]
    jobs: list[tuple[Path, Sequence[object], str]] = [
        *((path, kernel_flags, kernel_headers + runtime_headers) for path in kernels),
        *((path, host_flags, kernel_headers + runtime_headers) for path in hosts),
        *((HERE / "runtime" / f"{r}.cpp", mode.runtime_flags, runtime_headers) for r in runtime),
    ]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda job: _compile(mode, *job), jobs))

    suffix = "" if mode.namespace is None else ".so"
    out = BUILD / f"{name}-{_digest(*objects)}" / f"simulated_gpu{suffix}"
    _make(out, mode.compiler, *objects, *mode.link_flags)
    return out


@functools.cache
def load(name: str) -> ModuleType:
    """The Python module of a mode, built if need be."""
    path = build(name)
    spec = importlib.util.spec_from_file_location(MODES[name].namespace or "", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
