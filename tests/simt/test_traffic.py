"""The traced memory traffic of every kernel against the least there can be."""

from __future__ import annotations

import re

import pytest
import torch

from tools import pages
from tools.cuda_check import ARRAYS

from .cases import DTYPES, Case
from .traffic import ELEMENTWISE, SHORT_ROWS, Measurement, elementwise, measure, measure_all, report

pytestmark = pytest.mark.simt("trace")

ROWS = ("normalise_by_lanes", "sums_of_segments", "normalise_by_segments")
KERNELS = {
    *(rf"map_\w+<{operation}<" for operation in ARRAYS if not operation.startswith("Normal")),
    *("norms_by_lanes<", "norms_by_block<", "norms_by_segments<"),
    *(f"{kernel}<{operation}<" for kernel in ROWS for operation in ARRAYS if "Normal" in operation),
}


def check(m: Measurement) -> None:
    assert 0 <= m.overhead <= 0.02
    # Of the last block's few partial sums, half; of the sums of a row, a block reads one in seven.
    assert m.sector_efficiency >= (0.99 if "by_segments<Normal" in m.kernel else 0.995)
    assert m.bank_conflicts == 0


def test_aligned_rows() -> None:
    measurements = measure_all()
    seen = {m.kernel for m in measurements}
    assert len(seen) == len(KERNELS) * len(DTYPES)
    assert all(any(re.match(known, kernel) for known in KERNELS) for kernel in seen)
    for m in measurements:
        check(m)
        assert m.vector_share >= 0.98


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_short_rows(dtype: torch.dtype) -> None:
    for m in elementwise(SHORT_ROWS, dtype):
        if "NormPenaltyBackward" not in m.kernel:  # it reads a norm for every two elements
            check(m)
    m = measure(SHORT_ROWS, "norm_penalty", dtype)
    assert m.overhead <= 0.02
    assert m.sector_efficiency >= 0.9


def test_packed_rows_of_odd_length_are_still_moved_in_packets() -> None:
    for m in elementwise(Case(16, 2047), torch.float32):
        assert m.overhead <= 0.02
        assert m.vector_share >= 0.98


def test_misaligned_rows_ask_for_no_more_bytes() -> None:
    shifted = Case(ELEMENTWISE.batch, ELEMENTWISE.dim, shift=1, gap=1)
    norms = measure(shifted, "norm_penalty", torch.float32)
    for m in [*elementwise(shifted, torch.float32), norms]:
        assert m.overhead <= 0.02


def test_the_tracer_sees_scattered_accesses() -> None:
    """What is held against the kernels above must be able to fail."""
    aligned, *_ = elementwise(ELEMENTWISE, torch.float32)
    scattered, *_ = elementwise(Case(16, 2048, shift=1), torch.float32)
    assert aligned.vector_share == 1
    assert scattered.vector_share < 0.5
    assert scattered.sector_efficiency < 0.6


def test_table_in_the_documentation() -> None:
    assert pages.read("traffic") == report(), "type: make cuda-docs"
