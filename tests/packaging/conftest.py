"""Copies of the source folder, and environments in which something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]

Done = subprocess.CompletedProcess[str]


def copy_of_the_sources(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in ("wgan_fast", "csrc", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


@pytest.fixture
def sources(tmp_path) -> Path:
    (tmp_path / "sources").mkdir()
    return copy_of_the_sources(tmp_path / "sources")


def environment(**changes: str) -> dict[str, str]:
    """This process's, without switches that someone may have set for their own build."""
    switches = ("WGAN_FAST_BUILD", "FORCE_CUDA", "CXX", "CUDA_HOME", "PYTHONPATH")
    return {**{k: v for k, v in os.environ.items() if k not in switches}, **changes}


@pytest.fixture
def without_compiler(tmp_path) -> dict[str, str]:
    """A PATH on which there is Python and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    return {"PATH": str(folder)}


@pytest.fixture
def with_broken_compiler(tmp_path) -> dict[str, str]:
    compiler = tmp_path / "broken-c++"
    compiler.write_text("#!/bin/sh\necho 'internal compiler error' >&2\nexit 1\n")
    compiler.chmod(0o755)
    return {"CXX": str(compiler)}


@pytest.fixture
def with_broken_nvcc(tmp_path) -> dict[str, str]:
    """CUDA is asked for and nvcc is there, but compiles nothing. The C++ compiler does, quickly."""
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(
        '#!/bin/sh\n[ "$1" = --list-gpu-arch ] && echo compute_90 && exit\n'
        "echo 'nvcc fatal: unsupported' >&2\nexit 1\n"
    )
    compiler = tmp_path / "quick-c++"
    compiler.write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
    for program in (nvcc, compiler):
        program.chmod(0o755)
    return {"FORCE_CUDA": "1", "CUDA_HOME": str(tmp_path / "cuda"), "CXX": str(compiler)}


@pytest.fixture
def without_torch(tmp_path) -> dict[str, str]:
    folder = tmp_path / "no_torch"
    folder.mkdir()
    (folder / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def build(sources) -> Callable[..., Done]:
    """Runs ``setup.py build_ext --inplace`` in the copy; ``prelude`` is Python to run first."""

    def run(mode: str | None = None, prelude: str = "", **changes: str) -> Done:
        if mode is not None:
            changes["WGAN_FAST_BUILD"] = mode
        arguments = ["setup.py", "-q", "build_ext", "--inplace"]
        program = f"import runpy, sys\n{prelude}\nsys.argv = {arguments}\n"
        program += "sys.path.insert(0, '.')\nrunpy.run_path('setup.py', run_name='__main__')\n"
        command = [sys.executable, "-c", program]
        env = environment(**changes)
        return subprocess.run(command, cwd=sources, env=env, capture_output=True, text=True)

    return run
