"""Rounds are interleaved, and intervals hold what they should."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Ratio, Timing, interleaved, ratio, resampled_medians


def test_every_round_takes_every_contestant_in_an_order_of_its_own():
    calls: list[str] = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = interleaved(contestants, rounds=(60, 60), least=0.0)
    assert {name: len(timing.seconds) for name, timing in timings.items()} == dict.fromkeys(
        "abc", 60
    )
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 180, 3)]
    assert {"".join(sorted(order)) for order in rounds} == {"abc"}
    followed = {order[i : i + 2] for order in rounds for i in (0, 1)}
    assert followed == {"ab", "ac", "ba", "bc", "ca", "cb"}


class Clock:
    """A clock that only the calls move; the first call after a rest lasts longer."""

    def __init__(self):
        self.now, self.is_cold = 0.0, True

    def perf_counter(self):
        return self.now

    def sleep(self, _):
        self.is_cold = True

    def call(self, warm, cold):
        self.now += cold if self.is_cold else warm
        self.is_cold = False


def test_waking_up_is_no_part_of_a_short_call(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    contestants = {
        "short": lambda: clock.call(2**-10, 2**-7),
        "long": lambda: clock.call(1.0, 1.5),
    }
    found = interleaved(contestants, rounds=(6, 6))
    assert set(found["short"].seconds) == {2**-10}
    assert set(found["long"].seconds) == {1.5}  # called once each time, and not beforehand


def test_processor_time_counts_no_sleep():
    def rest():
        time.sleep(0.02)

    found = {
        processor_time: interleaved({"rest": rest}, rounds=(3, 3), processor_time=processor_time)
        for processor_time in (False, True)
    }
    assert found[False]["rest"].median >= 0.02
    assert found[True]["rest"].median < 0.01


def test_what_is_done_before_is_done_each_time_and_not_measured():
    calls: list[str] = []

    def before():
        calls.append("before")
        time.sleep(0.05)

    found = interleaved({"it": lambda: calls.append("it")}, rounds=(4, 4), least=0.0, before=before)
    assert calls == ["before", "it"] * 4
    assert max(found["it"].seconds) < 0.05


class Event:
    """A CUDA event that writes down when it was recorded."""

    calls: ClassVar[list[str]] = []

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.calls.append("record")

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 6.0  # milliseconds


def test_on_a_gpu_what_is_done_before_keeps_it_busy_until_the_first_event(monkeypatch):
    Event.calls.clear()
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: Event.calls.append("synchronize"))
    found = interleaved(
        {"it": lambda: Event.calls.append("it")},
        rounds=(3, 3),
        least=0.0,
        device="cuda",
        before=lambda: Event.calls.append("before"),
    )
    assert Event.calls == ["synchronize", "before", "record", "it", "record"] * 3
    assert found["it"].seconds == [6e-3] * 3


def test_the_interval_of_a_ratio_holds_it():
    torch.manual_seed(0)
    drift = 1 + torch.rand(31)
    slow, fast = (scale * drift * (1 + 0.05 * torch.randn(31)) for scale in (3.0, 2.0))
    found = ratio(Timing(slow.tolist()), Timing(fast.tolist()))
    assert 1.3 < found.low < 1.5 < found.high < 1.7
    assert found.low < found.value < found.high


def test_drift_that_contestants_share_cancels():
    drift = torch.linspace(1, 3, 15)
    found = ratio(Timing((2 * drift).tolist()), Timing(drift.tolist()))
    assert found == Ratio(2.0, 2.0, 2.0)


@pytest.mark.parametrize("left_early", ["numerator", "denominator"])
def test_a_contestant_that_left_early_is_compared_by_its_rounds(left_early):
    # Later rounds were ten times slower for the one that stayed.
    stayed, left = Timing([2.0] * 3 + [20.0] * 9), Timing([1.0] * 3)
    if left_early == "numerator":
        assert ratio(left, stayed) == Ratio(0.5, 0.5, 0.5)
    else:
        assert ratio(stayed, left) == Ratio(2.0, 2.0, 2.0)


def test_quantiles_are_those_of_the_sample():
    timing = Timing([5.0, 1.0, 2.0, 3.0, 4.0, 0.0])
    assert timing.median == 2.5
    assert timing.spread == (1.0, 4.0)


def test_resamples_give_medians():
    few_outliers = [1.0] * 3 + [2.0] * 28
    assert (resampled_medians([few_outliers]) == 2).all()
