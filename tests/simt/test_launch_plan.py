"""One penalty costs three launches outside the critic."""

from __future__ import annotations

import pytest

from tools import pages

from .launch_plan import Recorder, no_penalty, others, ours, record, report, textbook

pytestmark = pytest.mark.simt("plain")


def test_three_launches_and_nothing_else() -> None:
    recorder = record(ours)
    assert [launch.operator for launch in recorder.launches] == [
        "random_interpolate",
        "norm_penalty",
        "norm_penalty_backward",
    ]
    assert others(recorder).total() == 0


def test_the_textbook_needs_many_more() -> None:
    theirs = others(record(textbook))
    assert theirs.total() >= 15
    assert theirs["linalg_vector_norm"] == 1


def test_the_recorder_counts_what_computes_and_nothing_else() -> None:
    import torch

    x = torch.ones(4, 3)
    with Recorder() as recorder:
        (x.view(3, 4).t() * 2).detach()
        torch.empty(3)
        torch.randint(0, 9, ())
    assert dict(recorder.operators) == {"mul": 1}
    assert record(no_penalty).launches == []


def test_plan_in_the_documentation() -> None:
    assert pages.read("launches") == report(), "type: make cuda-docs"
