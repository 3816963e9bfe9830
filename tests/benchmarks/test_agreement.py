"""Who computes something else is not timed."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contestants import UnavailableError
from benchmarks.race.agreement import enter
from benchmarks.race.suite import Speed, race
from benchmarks.suites.case import Case

SPEED = Speed(1e10, 1e11)


def gives(loss, gradient):
    """A contestant with this loss and this gradient."""

    def build(dtype, batch):
        return lambda epsilon: [
            torch.tensor(loss, dtype=dtype),
            None if gradient is None else torch.tensor(gradient, dtype=dtype),
        ]

    return build


def case_of(**others):
    contestants = {"textbook": gives(3.0, [1.0, 2.0]), **others}
    return Case(suite="kernels", name="made up", contestants=contestants, batch=16)


def test_who_agrees_races():
    entered = enter(case_of(same=gives(3.0, [1.0, 2.0])))
    assert list(entered.steps) == ["textbook", "same"]
    assert entered.failed == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (gives(3.0 + 1e-9, [1.0, 2.0]), "the loss differ.* in float64"),
        (gives(3.0, [1.0, 2.0 + 1e-9]), "the gradients differ.* in float64"),
        (gives(float("nan"), [1.0, 2.0]), "the loss differ"),
        (gives(3.0, None), "the gradients differ.* by 1.0e\\+00"),
        (gives(3.0, [[1.0, 2.0]]), "the gradients differ"),
        (lambda dtype, batch: lambda epsilon: [], "0 results, but textbook has 2"),
    ],
)
def test_who_differs_does_not(wrong, message):
    entered = enter(case_of(wrong=wrong))
    assert list(entered.steps) == ["textbook"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(entered.failed["wrong"])


def test_the_baseline_is_who_comes_first():
    contestants = {"usual": gives(3.0, [1.0]), "textbook": gives(3.1, [1.0])}
    case = Case(suite="kernels", name="made up", contestants=contestants, batch=16)
    assert "differ from usual by" in enter(case).failed["textbook"]
    (row, _) = race(SPEED, case, quick=True, device="cpu")
    assert (row["baseline"], row["speedup"]) == ("usual", 1)


def test_what_is_timed_is_compared_too():
    def build(dtype, batch):
        return gives(3.0, [1.0, 2.0] if dtype == torch.float64 else [1.0, 2.1])(dtype, batch)

    assert "torch.float32" in enter(case_of(wrong=build)).failed["wrong"]


def test_absence_and_breakdown_are_told_apart_and_named():
    def absent(dtype, batch):
        raise UnavailableError("not installed")

    def broken(dtype, batch):
        raise ZeroDivisionError("what a pity")

    rows = {row["contestant"]: row for row in race(
        SPEED, case_of(absent=absent, broken=broken), quick=True, device="cpu"
    )}  # fmt: skip
    assert rows["absent"]["unavailable"] == "not installed"
    assert rows["broken"]["failed"] == "ZeroDivisionError: what a pity"
    assert rows["textbook"]["speedup"] == 1.0
    assert "median_s" not in rows["absent"] | rows["broken"]
