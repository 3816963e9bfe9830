"""A change that made something slower is found, and noise is not taken for one."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import compare

from .results import pair, steps_pair


def verdict_of(old, new):
    (change,) = compare.changes(old, new)
    return change.verdict(compare.MARGIN)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(1.5, 1.3, "SLOWER"), (1.3, 1.5, "faster"), (1.5, 1.48, "same")],
)
def test_the_verdict_follows_the_speedup(before, after, verdict):
    assert verdict_of(pair("penalty", "x", before), pair("penalty", "x", after)) == verdict


def test_noise_is_no_change():
    old, new = pair("penalty", "x", 1.5, noise=0.6), pair("penalty", "x", 1.4, noise=0.6)
    assert verdict_of(old, new) == "same"


def test_a_slower_machine_is_no_change():
    new = pair("penalty", "x", 1.5)
    for row in new:
        row["seconds"] = [3 * s for s in row["seconds"]]
    assert verdict_of(pair("penalty", "x", 1.5), new) == "same"


def test_each_case_has_its_baseline():
    old, new = (steps_pair(ratio) for ratio in (1.5, 1.3))
    assert verdict_of(old, new) == "SLOWER"
    assert compare.changes(old, pair("steps", "x", 1.3)) == []


@pytest.mark.parametrize(("after", "status"), [(1.2, 1), (1.5, 0)])
def test_the_exit_status_tells(tmp_path, monkeypatch, capsys, after, status):
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, ratio in zip(paths, (1.5, after), strict=True):
        path.write_text(json.dumps(pair("penalty", "x", ratio)))
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, paths)])
    assert compare.main() == status
    assert f"{status} SLOWER, 0 faster" in capsys.readouterr().out


def test_files_without_a_common_case_are_no_success(tmp_path, monkeypatch):
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, case in zip(paths, "xy", strict=True):
        path.write_text(json.dumps(pair("penalty", case, 1.5)))
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, paths)])
    assert compare.main() == 2
