"""setup.py: what can be built is built; what was asked for and cannot be is an error that helps."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.packaging.conftest import environment


def binaries(sources):
    return list(sources.rglob("*.so"))


def test_without_a_compiler_the_reference_is_installed(build, sources, without_compiler):
    for mode in (None, "auto", "none"):
        done = build(mode, **without_compiler)
        assert done.returncode == 0, done.stderr
        assert ("no C++ compiler found" in done.stderr) == (mode != "none")
    assert not binaries(sources)


@pytest.mark.parametrize("mode", ["cpu", "cuda"])
def test_asked_for_without_a_compiler(build, sources, without_compiler, mode):
    done = build(mode, **without_compiler)
    assert done.returncode != 0
    assert f"WGAN_FAST_BUILD={mode}, but no C++ compiler was found" in done.stderr
    assert "g++" in done.stderr
    assert not binaries(sources)


def test_an_empty_name_of_a_compiler_is_none(build, sources, without_compiler):
    done = build("cpu", **without_compiler, CXX="")
    assert done.returncode != 0
    assert "no C++ compiler was found" in done.stderr


def test_a_compiler_that_does_not_work(build, sources, with_broken_compiler):
    done = build("auto", **with_broken_compiler)
    assert done.returncode == 0, done.stderr
    assert "could not be compiled, installing without" in done.stderr
    assert build("cpu", **with_broken_compiler).returncode != 0
    assert not binaries(sources)


def told(done):
    """What the build itself says, apart from the compilers."""
    return [line for line in done.stderr.splitlines() if line.startswith("wgan_fast:")]


def kernels_in(sources, name):
    """The devices on which the extension in ``sources`` serves an operator."""
    code = (
        "from wgan_fast.ops import _native\n"
        f"print(*(d for d in ('cpu', 'cuda') if _native.serves({name!r}, d)))"
    )
    env = environment(PYTHONPATH=str(sources))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_without_cuda_there_are_the_kernels_for_the_cpu(build, sources, with_broken_nvcc):
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    done = build("auto", **with_broken_nvcc)
    assert done.returncode == 0, done.stderr
    (line,) = told(done)
    assert "the CUDA kernels could not be compiled, building those for the CPU" in line
    assert kernels_in(sources, "norm_penalty") == ["cpu"]


def test_cuda_asked_for_and_nvcc_does_not_work(build, sources, with_broken_nvcc):
    done = build("cuda", **with_broken_nvcc)
    assert done.returncode != 0
    assert not binaries(sources)


def test_neither_compiler_works(build, sources, with_broken_nvcc, with_broken_compiler):
    done = build("auto", **(with_broken_nvcc | with_broken_compiler))
    assert done.returncode == 0, done.stderr
    assert [("CUDA" in line, "installing without" in line) for line in told(done)] == [
        (True, False),
        (False, True),
    ]
    assert not binaries(sources)


def test_none_needs_neither_torch_nor_a_compiler(build, sources, without_torch, without_compiler):
    done = build("none", **without_torch, **without_compiler)
    assert done.returncode == 0, done.stderr
    assert not binaries(sources)


@pytest.mark.parametrize("mode", [None, "auto", "cpu", "cuda"])
def test_without_torch_it_says_what_to_type(build, without_torch, mode):
    done = build(mode, **without_torch)
    assert done.returncode != 0
    assert "pip install --no-build-isolation ." in done.stderr
    assert "WGAN_FAST_BUILD=none pip install ." in done.stderr
    assert "Traceback" not in done.stderr


def test_cuda_without_nvcc(build, sources):
    prelude = "from torch.utils import cpp_extension as torchs\n"
    prelude += "torchs.CUDA_HOME = None\ntorchs._find_cuda_home = lambda: None\n"
    for switches in ({"mode": "cuda"}, {"mode": "auto", "FORCE_CUDA": "1"}):
        done = build(prelude=prelude, **switches)
        assert done.returncode != 0
        assert "nvcc" in done.stderr
        assert "CUDA_HOME" in done.stderr
    assert not binaries(sources)


def test_an_unknown_mode(build):
    done = build("gpu")
    assert done.returncode != 0
    assert "must be auto, none, cpu or cuda, but it is 'gpu'" in done.stderr
