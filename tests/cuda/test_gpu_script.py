"""``make gpu``: one part that fails must not lose the others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import gpu_bandwidth, gpu_steps
from benchmarks.problems.problem import Problem
from tests.cuda import exercise
from tools import gpu
from tools.gpu import Part, parts, run_all
from wgan_fast.ops import REGISTRY


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_a_failure_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = [
        Part("good", python("print('hello')"), 20),
        Part("bad", python("print('so far', flush=True); raise SystemExit(3)"), 20),
        Part("slow", python("import time; print('begun', flush=True); time.sleep(60)"), 2),
        Part("absent", ("/no/such/program",), 20),
        Part("unknown", ("anything",), 20, "it is not installed"),
        Part("last", python("import os; print(os.environ['WORD'])"), 20),
    ]
    outcomes = run_all(todo, tmp_path, {**os.environ, "WORD": "there"})
    assert [outcome.status.partition(":")[0] for outcome in outcomes] == [
        *("passed", "failed", "failed", "failed", "skipped", "passed")
    ]
    assert outcomes[1].status == "failed: exit code 3"
    assert outcomes[2].status == "failed: stopped after 2 s"
    assert outcomes[4].status == "skipped: it is not installed"
    for name, said in {"good": "hello", "bad": "so far", "slow": "begun", "last": "there"}.items():
        assert said in (tmp_path / f"{name}.txt").read_text()
    written = json.loads((tmp_path / "parts.json").read_text())
    assert [part["name"] for part in written] == [part.name for part in todo]
    assert "stopped after 2 s" in capsys.readouterr().out


def test_it_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TOTAL_SECONDS", 7.0)
    todo = [Part("slow", python("import time; time.sleep(60)"), 100), Part("next", python(""), 9)]
    outcomes = run_all(todo, tmp_path, dict(os.environ))
    assert outcomes[0].seconds < 20
    assert outcomes[1].status == "skipped: no time left"


def test_what_a_part_has_started_ends_with_it(tmp_path: Path) -> None:
    """The program below a sanitizer would keep the GPU during the parts that follow."""
    below = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    above = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"
    run_all([Part("nested", python(above), 5)], tmp_path, dict(os.environ))
    number = int((tmp_path / "nested.txt").read_text())
    for _ in range(200):
        if not _runs(number):
            return
        time.sleep(0.05)
    pytest.fail(f"process {number} still runs")


def _runs(number: int) -> bool:
    """Whether a process does more than wait for its parent to ask how it ended."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_modules_it_starts_exist(tmp_path: Path) -> None:
    root = Path(gpu.__file__).parents[1]
    for part in parts(tmp_path):
        if "-m" not in part.command:
            continue
        module = part.command[part.command.index("-m") + 1]
        if module.split(".")[0] in ("tools", "tests", "benchmarks", "wgan_fast"):
            path = root / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_every_operator_is_exercised() -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Any:
        def run(*args: Any) -> None:
            REGISTRY[name].overload(*args)
            calls[name] += 1

        return run

    exercise.exercise({name: counted(name) for name in REGISTRY})
    assert set(calls) == set(REGISTRY)
    assert min(calls.values()) > 20


def test_table_of_measurements() -> None:
    result = gpu_bandwidth.Result("norm_penalty", "float32", 64, 12288, 3_145_728, 2.0, 1.5, 9.0)
    last = gpu_bandwidth.report([result]).splitlines()[-1]
    assert last == "| `norm_penalty` | float32 | 64 x 12288 | 2.0 | 1573 | 75% | 4.5 |"


@pytest.mark.parametrize("what", gpu_steps.LOSSES)
def test_steps_compute_the_same(what: str) -> None:
    usual, ours = gpu_steps.LOSSES[what]
    critic = gpu_steps.MLP.critic(torch.float64)
    real, _ = gpu_steps.MLP.samples(torch.float64)
    # Of equal samples every interpolate is the sample, whatever is drawn.
    fake = real if what == "penalty" else real.flip(0)
    theirs, mine = (gpu_steps.gradients_of(loss, critic, real, fake)() for loss in (usual, ours))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("what", gpu_steps.LOSSES)
@pytest.mark.parametrize("dtype", gpu_steps.DTYPES)
def test_steps_are_measured(what: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "ROUNDS", 5)
    tiny = Problem("tiny", lambda: nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(), nn.Linear(3, 1)),
                   (2,), 4)  # fmt: skip
    results = list(gpu_steps.measure(tiny, what, dtype))
    assert [result.mode for result in results] == ["eager", "captured"]
    for result in results:
        assert result.dtype == str(dtype).removeprefix("torch.")
        assert result.usual_ms > 0
        assert result.ours_ms > 0
    assert "| tiny | " in gpu_steps.report(results)


def test_what_cannot_be_tested_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name == "ot" else 1)
    last = parts(tmp_path)[-1]
    assert "--ignore=tests/examples" in last.command
    run_all([Part("tests", python(""), 20, without=last.without)], tmp_path, dict(os.environ))
    assert "passed (without tests/examples: ot not installed; tests/simt" in capsys.readouterr().out
