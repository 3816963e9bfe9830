"""Builds the CUDA kernels for the simulated GPU, in one of several modes, and remembers the result.

plain   g++                    do the kernels compute the right thing
trace   g++, counting calls    what do they ask of memory
asan    g++, Address- and UndefinedBehaviorSanitizer
tsan    clang-22, ThreadSanitizer, in blocks of 64 threads, float alone

``plain`` and ``trace`` are Python modules, ``asan`` and ``tsan`` programs (``program.cpp``).
Everything lies below ``build/simt``, named by a hash of all that went into it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import platform
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from .translate import translate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "simt"
RUNTIME = ("scheduler", "fiber", "race_detector", "shared_memory")
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
    is_module: bool
    float_only: bool = False


_ASAN = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_TSAN = ("-fsanitize=thread",)
_SMALL = ("-DWGAN_FAST_CUDA_THREADS=64",)
MODES = {
    "plain": Mode("g++", (), (), ("-shared",), True),
    "trace": Mode("g++", (*_TSAN, "-fno-tree-sra"), ("-DSIMT_TRACE",), ("-shared",), True),
    "asan": Mode("g++", _ASAN, (*_ASAN, "-DSIMT_ASAN"), _ASAN, False),
    "tsan": Mode("clang++-22", (*_TSAN, *_SMALL), ("-DSIMT_TSAN", *_SMALL), _TSAN, False, True),
}


@functools.cache
def cuda_include() -> Path | None:
    """The folder of the CUDA toolkit's headers, or None."""
    from torch.utils.cpp_extension import CUDA_HOME

    found = Path(CUDA_HOME or "/usr/local/cuda") / "include"
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


def _publish(path: Path, make: Path) -> None:
    """Moves a finished file to its place, which another process may have filled meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make.replace(path)


def _kernel_sources(edits: dict[str, str], float_only: bool) -> dict[str, str]:
    """The translated files of csrc/cuda and csrc/common by path; ``edits`` replace file texts."""
    other_types = re.compile(r"^WGAN_FAST_INSTANTIATE\((?!float).*\)$", re.MULTILINE)
    result = {}
    for path in sorted([*(CSRC / "cuda").iterdir(), *(CSRC / "common").iterdir()]):
        text = edits.get(path.name, path.read_text())
        if float_only:
            text = other_types.sub("", text)
        if path.parent.name == "cuda":
            text = f'#line 1 "{path.relative_to(ROOT)}"\n{translate(text)}'
        result[f"{path.parent.name}/{path.name}"] = text
    return result


def _compile(mode: Mode, source: Path, flags: tuple[object, ...], key: str) -> Path:
    """The object file of ``source``; ``key`` stands for the contents of all that it includes."""
    command = [mode.compiler, *COMMON_FLAGS, *flags, f"-isystem{cuda_include()}"]
    out = BUILD / "objects" / f"{source.stem}-{_digest(*command, key, source.read_text())}.o"
    if not out.exists():
        scratch = out.with_suffix(f".{_digest(id(command))}.tmp")
        out.parent.mkdir(parents=True, exist_ok=True)
        _run(*command, "-x", "c++", "-c", source, "-o", scratch)
        _publish(out, scratch)
    return out


def build(name: str, edits: dict[str, str] | None = None) -> Path:
    """Builds a mode, if that was not done before; returns the module or program.

    Args:
        name: a key of ``MODES``.
        edits: other texts for some files of csrc/cuda, by file name: planted bugs. Then for float
            alone, which is quicker.
    """
    mode = MODES[name]
    float_only = mode.float_only or edits is not None
    sources = _kernel_sources(edits or {}, float_only)
    key = _digest(*sources.items())
    translated = BUILD / "translated" / key
    for path, text in sources.items():
        target = translated / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(text)
    runtime_key = _digest(*(p.read_text() for p in sorted(HERE.glob("*/*.h"))))
    # Only the kernels' file and the headers count, so that an edit of one file recompiles that one.
    headers = _digest(*(text for path, text in sources.items() if not path.endswith(".cu")))

    kernel_flags = (*mode.kernel_flags, "-include", HERE / "device" / "simt.h")
    jobs = [
        (mode, path, kernel_flags, headers + runtime_key)
        for path in sorted((translated / "cuda").glob("*.cu"))
    ]
    runtime = [*RUNTIME, *(["trace"] if name == "trace" else [])]
    jobs += [
        (mode, HERE / "runtime" / f"{stem}.cpp", mode.runtime_flags, runtime_key)
        for stem in runtime
    ]
    host_flags: tuple[object, ...] = (*mode.runtime_flags, f"-I{translated}", f"-I{HERE}")
    if float_only:
        host_flags += ("-DSIMT_FLOAT_ONLY",)
    if mode.is_module:
        host_flags += (
            f"-isystem{sysconfig.get_path('include')}",
            f"-isystem{Path(torch.__file__).parent / 'include'}",
        )
        jobs.append((mode, HERE / "module.cpp", host_flags, headers + runtime_key))
    else:
        jobs.append((mode, HERE / "program.cpp", host_flags, headers + runtime_key))
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda job: _compile(*job), jobs))

    suffix = ".so" if mode.is_module else ""
    out = BUILD / f"{name}-{_digest(*objects)}" / f"simulated_gpu{suffix}"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = out.with_name(f"{_digest(id(jobs))}.tmp")
        _run(mode.compiler, *objects, *mode.link_flags, "-o", scratch)
        _publish(out, scratch)
    return out


@functools.cache
def load(name: str) -> ModuleType:
    """The Python module of a mode, built if need be."""
    path = build(name)
    spec = importlib.util.spec_from_file_location("simulated_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
