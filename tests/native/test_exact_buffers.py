"""The CPU kernels under Address- and UndefinedBehaviorSanitizer, for every instruction set.

``exact_buffers.cpp`` says what is run. A sanitizer ends the program at the first byte read or
written outside of a buffer, and at the first undefined operation.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CPU = HERE.parents[1] / "csrc" / "cpu"
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
#: As in setup.py, with -O3 for the kernels: vectorised loops are what has to be looked at.
OPTIMISE = ["-std=c++17", "-fno-math-errno", "-fno-trapping-math"]
if platform.machine() == "x86_64":
    OPTIMISE.append("-march=x86-64-v2")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1"]


def compile_with(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert COMPILER is not None
    command = [*COMPILER.split(), *OPTIMISE, *SANITIZE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def sanitizers_missing(folder: Path) -> str | None:
    """Why nothing can be built with sanitizers here; None if it can."""
    if COMPILER is None:
        return "there is no C++ compiler"
    empty = folder / "empty.cpp"
    empty.write_text("int main() { return 0; }\n")
    if compile_with(empty, "-o", folder / "empty").returncode != 0:
        return f"{COMPILER} cannot build with Address- and UndefinedBehaviorSanitizer"
    done = subprocess.run([folder / "empty"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"sanitizers do not run here: {done.stderr[-300:]}"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sanitized")
    reason = sanitizers_missing(folder)
    if reason is not None:
        pytest.skip(f"C++ kernels under sanitizers: {reason}")

    def build(source: Path) -> Path:
        out = folder / f"{source.stem}.o"
        level = "-O3" if source.parent == CPU else "-O1"
        done = compile_with(level, "-c", source, "-o", out)
        assert done.returncode == 0, done.stderr
        return out

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(build, [HERE / "exact_buffers.cpp", *sorted(CPU.glob("*.cpp"))]))
    done = compile_with(*objects, "-o", folder / "exact_buffers")
    assert done.returncode == 0, done.stderr
    return folder / "exact_buffers"


def run(
    program: Path, capability: str, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    variables |= {"WGAN_FAST_CPU_CAPABILITY": capability}
    done = subprocess.run(
        [program, *words], env=os.environ | variables, capture_output=True, text=True
    )
    if done.stdout.split("\n")[0] != capability:
        pytest.skip(f"this processor does not have {capability}")
    return done


@pytest.mark.parametrize("cache", ["", "0"], ids=["through caches", "past caches"])
@pytest.mark.parametrize("capability", ["baseline", "avx2", "avx512"])
def test_no_kernel_leaves_its_buffers(program, capability, cache):
    done = run(program, capability, WGAN_FAST_CPU_CACHE=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[1]) > 10**7  # it did not stop half way


@pytest.mark.parametrize("capability", ["baseline", "avx2", "avx512"])
def test_the_sanitizer_would_have_noticed(program, capability):
    done = run(program, capability, "--overrun")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
