"""Rounds are interleaved, and intervals hold what they should."""

from __future__ import annotations

import torch

from benchmarks.timing import Timing, interleaved, ratio_interval, resampled_medians


def test_every_round_takes_every_contestant_in_a_rotating_order():
    calls: list[str] = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = interleaved(contestants, rounds=(4, 4), least=0.0)
    assert {name: len(timing.seconds) for name, timing in timings.items()} == dict.fromkeys(
        "abc", 4
    )
    rounds = ["".join(calls[-12:][i : i + 3]) for i in range(0, 12, 3)]
    assert rounds == ["abc", "bca", "cab", "abc"]


def test_the_interval_of_a_ratio_holds_it():
    torch.manual_seed(0)
    drift = 1 + torch.rand(31)
    slow, fast = (scale * drift * (1 + 0.05 * torch.randn(31)) for scale in (3.0, 2.0))
    low, high = ratio_interval(Timing(slow.tolist()), Timing(fast.tolist()))
    assert 1.3 < low < 1.5 < high < 1.7


def test_drift_that_contestants_share_cancels():
    drift = torch.linspace(1, 3, 15)
    low, high = ratio_interval(Timing((2 * drift).tolist()), Timing(drift.tolist()))
    assert low == high == 2


def test_quantiles_are_those_of_the_sample():
    timing = Timing([5.0, 1.0, 2.0, 3.0, 4.0, 0.0])
    assert timing.median == 2.5
    assert timing.spread == (1.0, 4.0)


def test_resamples_give_medians():
    few_outliers = [1.0] * 3 + [2.0] * 28
    assert (resampled_medians([few_outliers]) == 2).all()
