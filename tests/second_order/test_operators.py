"""Every operator is at the floor of its net, and docs/double-backward.md says the truth about it.

python -m benchmarks.double_backward    writes the page's tables
"""

import re

import pytest
import torch

from benchmarks.double_backward import (
    PAGE,
    activation_table,
    derivatives_table,
    least,
    moved,
    multiple,
    ours,
    textbook,
)
from benchmarks.problems.normalisations import NORMALISATIONS
from benchmarks.problems.operator_problem import IMPOSSIBLE, PIECEWISE
from benchmarks.problems.operators import CASES
from tests.second_order.operators import every_possible_operator
from tools import pages
from wgan_fast.ops import _native as native


def on_the_page() -> dict[str, list[str]]:
    """Operator -> the other cells of its row."""
    rows = re.findall(r"^\| (.+) \|$", PAGE.read_text(), flags=re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    return {name: rest for name, *rest in cells if len(rest) == 5}


def written(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


@every_possible_operator
def test_floor(case):
    cost, floor = multiple(case, ours), least(case)
    assert cost <= floor
    if case.kind == PIECEWISE:
        assert cost <= 4
    _, *counts, _ = on_the_page()[case.name]
    assert counts == [written(multiple(case, textbook)), written(cost), written(floor)]


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_page_has_all_operators_and_no_others():
    rows = set(on_the_page()) - {"operator", "---"}
    assert rows == {case.name for case in CASES}


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@pytest.mark.skipif(
    not torch.__version__.startswith("2.13."), reason="the page counts the calls of torch 2.13"
)
@pytest.mark.parametrize("name", NORMALISATIONS)
def test_calls_and_bytes_of_normalisations(name):
    (row,) = re.findall(rf"^\| {name} \| .* \|$", PAGE.read_text(), flags=re.MULTILINE)[-1:]
    assert row.split(" | ")[-4:] == [*map(str, moved(name)[:-1]), f"{moved(name)[-1]} |"]


@pytest.mark.parametrize("case", [case for case in CASES if case.kind == IMPOSSIBLE], ids=str)
def test_without_a_double_backward(case):
    assert multiple(case, textbook) is None
    assert multiple(case, ours) is None


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@pytest.mark.skipif(
    not torch.__version__.startswith("2.13."), reason="the page counts the calls of torch 2.13"
)
def test_table_of_losses_of_derivatives():
    told = pages.read("derivatives", PAGE)
    assert told == derivatives_table(), "type: python -m benchmarks.double_backward"


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_table_of_activations():
    told = pages.read("activations", PAGE)
    assert told == activation_table(), "type: python -m benchmarks.double_backward"
