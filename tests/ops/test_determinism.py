"""The same input, the same bits: however many threads, and whatever the processor has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ops.arguments import arguments
from tests.ops.backends import ARITHMETIC
from tests.ops.compare import as_tuple, bits, check_close, same_bits
from tests.ops.layouts import DTYPES, LAYOUTS
from tests.ops.operators import KNOWN
from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native

pytestmark = pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
#: Enough work for two threads, cut in the middle of a row, of a block of rows, of a segment.
SHAPES = [
    (70_001, 1),
    (40_003, 2),
    (5000, 33),
    (131, 1009),
    (3, 49_153),
    (1, 2**20 + 3),
    (9, 3, 67, 71),
]
WORKER = Path(__file__).with_name("on_one_instruction_set.py")


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_any_number_of_threads(name, dtype, threads):
    for i, shape in enumerate(SHAPES):
        args = arguments(name, shape, dtype, LAYOUTS[i % len(LAYOUTS)], i)
        threads(1)
        expected = REGISTRY[name](*args, backend="native")
        for count in (2, 3):
            threads(count)
            for _ in range(2):
                actual = REGISTRY[name](*args, backend="native")
                assert same_bits(actual, expected), f"{shape} with {count} threads"


@pytest.fixture(scope="module")
def instruction_sets(tmp_path_factory):
    """What the operators return with each instruction set that this processor has."""
    return on_every_instruction_set(tmp_path_factory.mktemp("instruction_sets"))


def on_every_instruction_set(folder: Path, **variables: str) -> dict[str, dict[str, Any]]:
    found = {}
    for wanted in ("baseline", "avx2", "avx512"):
        output = folder / f"{wanted}.pt"
        environment = os.environ | variables | {"WGAN_FAST_CPU_CAPABILITY": wanted}
        subprocess.run([sys.executable, WORKER, output], env=environment, check=True)
        saved = torch.load(output, weights_only=True)
        if saved["capability"] == wanted:
            found[wanted] = saved
        else:
            assert saved["capability"] == list(found)[-1], "the best there is below"
    return found


@pytest.mark.parametrize("capability", ["avx2", "avx512"])
def test_the_norm_is_the_same_on_every_instruction_set(instruction_sets, capability):
    """Below float64, where every square is exact; conversions of halves in every dtype."""
    if capability not in instruction_sets:
        pytest.skip(f"this processor does not have {capability}")
    expected, actual = (instruction_sets[c]["results"] for c in ("baseline", capability))
    exact = [k for k in expected if k.startswith(("widened", "rounded"))]
    exact += [k for k in expected if k.startswith("norm_penalty") and "float64" not in k]
    exact += [k for k in expected if "interpolate_backward" in k]
    assert len(exact) > 100
    for key in exact:
        for a, b in zip(actual[key], expected[key], strict=True):
            both_nan = a.isnan() & b.isnan()
            assert torch.equal(bits(a)[~both_nan.view(a.shape)], bits(b)[~both_nan]), key


def test_what_has_fma_agrees(instruction_sets):
    if "avx512" not in instruction_sets:
        pytest.skip("this processor does not have avx512")
    expected, actual = (instruction_sets[c]["results"] for c in ("avx2", "avx512"))
    for key in expected:
        if "interpolate" in key:
            assert same_bits(actual[key], expected[key]), key


def test_writing_past_the_caches_changes_no_bit(instruction_sets, tmp_path):
    past = on_every_instruction_set(tmp_path, WGAN_FAST_CPU_CACHE="0")
    assert past.keys() == instruction_sets.keys()
    for capability, saved in past.items():
        for key, results in saved["results"].items():
            assert same_bits(results, instruction_sets[capability]["results"][key]), key


def test_an_output_larger_than_the_caches_is_that_of_its_slices():
    """More than 32 MiB at once, written past them; a slice of it, through them."""
    real, fake = torch.randn(2, 9, 2**20 + 3)
    epsilon = torch.rand(9)
    for op, samples in (("interpolate", (real, fake)), ("interpolate_backward", (real,))):
        whole = as_tuple(REGISTRY[op](*samples, epsilon, backend="native"))
        for rows in (slice(0, 4), slice(4, 9)):
            part = REGISTRY[op](*(x[rows] for x in samples), epsilon[rows], backend="native")
            assert same_bits(part, tuple(x[rows] for x in whole))


@pytest.mark.parametrize("capability", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_is_right(instruction_sets, capability):
    """Each against the textbook, within the same bounds."""
    if capability not in instruction_sets:
        pytest.skip(f"this processor does not have {capability}")
    saved = instruction_sets[capability]
    for key, args in saved["inputs"].items():
        expected = KNOWN[key.split()[0]].expected(ARITHMETIC["native"], *args)
        for result, value in zip(as_tuple(saved["results"][key]), expected, strict=True):
            check_close(result, value, f"{capability} {key}")


def test_the_instruction_set_can_be_lowered_and_not_raised(instruction_sets):
    """This process has the best there is."""
    assert "baseline" in instruction_sets
    if not os.environ.get("WGAN_FAST_CPU_CAPABILITY"):
        order = ["baseline", "avx2", "avx512"]
        assert native.cpu_capability() == max(instruction_sets, key=order.index)
