"""gan/study.py: the clock of a training."""

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
