"""``python -m wgan_fast`` with the compiled kernels, without them, and with broken ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import wgan_fast
import wgan_fast.__main__ as report
from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native

PACKAGE = Path(wgan_fast.__file__).parent


def run(folder):
    """The command's exit status and what it prints, the package taken from ``folder``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "wgan_fast"],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def without_kernels(tmp_path):
    """A copy of the package as it is installed where there is no compiler."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    return shutil.copytree(PACKAGE, tmp_path / "wgan_fast", ignore=ignored)


def served_by(output):
    """Operator: backend, from the lines of the report."""
    rows = (line.split() for line in output.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0] in REGISTRY}


def test_with_kernels():
    if native.failure is not None:
        pytest.skip(f"no compiled kernels: {native.failure}")
    status, output = run(PACKAGE.parent)
    assert status == 0
    assert f"wgan_fast  {wgan_fast.__version__}" in output
    assert torch.__version__ in output
    assert served_by(output) == dict.fromkeys(REGISTRY, "native")
    assert f"instruction set: {native.cpu_capability()}" in output
    assert "fast_gradient_penalty: works" in output
    assert "why not" not in output
    assert "missing" not in output


def test_without_kernels(without_kernels):
    status, output = run(without_kernels.parent)
    assert status == 0
    assert served_by(output) == dict.fromkeys(REGISTRY, "pytorch")
    assert "why not native: this installation has no compiled kernels" in output
    assert f"what to do, in the source folder: {native.HOW_TO_BUILD}" in output
    assert "fast_gradient_penalty: works" in output


def test_with_kernels_that_do_not_load(without_kernels):
    (without_kernels / "_C.abi3.so").write_text("not a library")
    status, output = run(without_kernels.parent)
    assert status == 0
    assert served_by(output) == dict.fromkeys(REGISTRY, "pytorch")
    assert "why not native: _C.abi3.so could not be loaded: " in output
    assert "fast_gradient_penalty: works" in output


def test_private_names_that_a_pytorch_does_not_have_are_told(monkeypatch, capsys):
    monkeypatch.setitem(report.LOOKED_UP, "_foreach_mul", False)
    assert report.main() == 0
    assert "missing    torch._foreach_mul: the same results" in capsys.readouterr().out


def test_a_penalty_that_does_not_work_is_an_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(report, "works", lambda device: False)
    assert report.main() == 1
    assert "fast_gradient_penalty: FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_may_have_seen_enough(buffered):
    """As in ``python -m wgan_fast | head -1``: neither a traceback nor a word at the end."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", *([] if buffered else ["-u"]), "-m", "wgan_fast"],
        cwd=PACKAGE.parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 1
