"""The environment variables of the CPU kernels: what they may say, and what a mistake is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wgan_fast.ops import _native as native

pytestmark = pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")

CODE = """
import torch
from wgan_fast import ops
from wgan_fast.ops import _native
print(_native.cpu_capability(), ops.norm_penalty(torch.ones(1, 4), backend="native")[1].item())
"""


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    names = ("WGAN_FAST_CPU_CAPABILITY", "WGAN_FAST_CPU_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", CODE]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True)


@pytest.mark.parametrize("value", ["", "0", "1048576", str(2**63 - 1)])
def test_numbers_of_bytes(value):
    done = run(WGAN_FAST_CPU_CACHE=value)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "2.0"


def test_an_empty_instruction_set_is_none_asked_for():
    assert run(WGAN_FAST_CPU_CAPABILITY="").stdout == run().stdout != ""


@pytest.mark.parametrize("value", ["avx2", "avx512"])
def test_what_the_processor_lacks_is_not_used_even_if_asked_for(value):
    order = ["baseline", "avx2", "avx512"]
    best = order.index(run().stdout.split()[0])
    found = run(WGAN_FAST_CPU_CAPABILITY=value).stdout.split()[0]
    assert order.index(found) == min(best, order.index(value))


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        *(
            ("WGAN_FAST_CPU_CAPABILITY", value, "avx512, avx2 or baseline, or empty")
            for value in ("avx1024", "AVX2", " avx2", "avx2,avx512", "default", "0")
        ),
        *(
            ("WGAN_FAST_CPU_CACHE", value, "a number of bytes, 0 or more, or empty")
            for value in ("-1", "32M", "1e6", "0x10", " 5", "5 ", "+5", str(2**63), "many")
        ),
    ],
)
def test_a_mistake_is_told_and_not_ignored(variable, value, allowed):
    done = run(**{variable: value})
    assert done.returncode == 1  # an exception, not a crash
    said = f"wgan_fast: the environment variable {variable} must be {allowed}, but it is '{value}'"
    assert done.stderr.splitlines()[-1] == f"RuntimeError: {said}"
