"""What a curve says: the slope at its end, where wgan_fast is ahead, and what fits into 4 GiB."""

from __future__ import annotations

import pytest

from benchmarks.report import curves
from benchmarks.suites import growth

from .results import pair, row

GIB = 2**30


def points(values, ratios):
    return [
        one
        for value, ratio in zip(values, ratios, strict=True)
        for one in pair("growth", f"{value}", ratio, critic="c", axis="batch", value=value)
    ]


def peaks(*found):
    rows = [
        row("growth", "", "textbook", [1.0], critic="c", axis="batch", value=value, peak_bytes=peak)
        for value, peak in found
    ]
    (curve,) = curves.curves_of(rows, "peak_bytes")
    return curve


def test_slope_and_exponent():
    rows = [
        row("growth", "", "textbook", [seconds], critic="c", axis="batch", value=value)
        for value, seconds in ((8, 3.0), (2, 100.0), (4, 1.0))  # sorted by value
    ]
    (curve,) = curves.curves_of(rows, "median_s")
    assert curve.values == [2, 4, 8]
    assert curves.slope(curve, "median_s") == 0.5
    assert curves.exponent(curve) == pytest.approx(1.58496, rel=1e-5)  # log2 of 3


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([2, 2, 2], "everywhere"),
        ([0.5, 2, 2], "from 2 on"),
        ([0.5, 2, 0.5], "at 2"),
        ([0.5, 0.5, 0.5], "nowhere"),
    ],
)
def test_crossover(ratios, expected):
    found = curves.curves_of(points([1, 2, 3], ratios), "median_s")
    assert curves.crossover(found[0], found) == expected


def test_what_fits_is_measured_or_said_to_be_extrapolated():
    assert curves.largest_that_fits(peaks((1, GIB), (2, 2 * GIB))) == (4, True)
    assert curves.largest_that_fits(peaks((2, 2 * GIB), (6, 6 * GIB))) == (4, False)
    assert curves.largest_that_fits(peaks((2, GIB))) == (2, False)


def test_the_largest_cases_are_measured_for_memory_only():
    large = [
        case
        for case in growth.cases(False, "cpu")
        if case.details["value"] in growth.FOR_MEMORY.get(case.details["axis"], ())
    ]
    assert len(large) == 5
    assert all(case.memory and not case.timed for case in large)
