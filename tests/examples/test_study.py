"""gan/study.py: the clock of a training, and words."""

from types import SimpleNamespace

import pytest
from gan import study


@pytest.mark.parametrize(
    ("steps", "n", "expected"), [(6, 3, [2, 4, 6]), (7, 3, [2, 4, 6, 7]), (2, 5, [1, 2])]
)
def test_what_is_done_at_a_checkpoint_is_not_counted(steps, n, expected, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(study.time, "process_time", lambda: now[0])
    run = SimpleNamespace(step=0, settings=SimpleNamespace(steps=steps))

    def training():
        while run.step < steps:
            run.step += 1
            now[0] += 1.0
            yield

    seen = []
    for seconds in study.checkpoints(run, training(), n):
        seen.append((run.step, seconds))
        now[0] += 1000.0  # measuring
    assert seen == [(step, step) for step in expected]


@pytest.mark.parametrize(("seeds", "text"), [([3], "one seed"), ([0, 1, 1], "median of 2 seeds")])
def test_seeds_are_counted_once(seeds, text):
    assert study.seeds_in_words([{"seed": seed} for seed in seeds]) == text


def test_the_ends_of_a_range_are_said_once_where_both_read_alike():
    assert study.from_to("6", "20") == "6 to 20"
    assert study.from_to("6", "6") == "6"
