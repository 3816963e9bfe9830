"""The examples are scripts beside their package: make them importable as they import each other."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

# Networks so small that a step takes a few milliseconds.
TINY = ("--size", "8", "--width", "4", "--batch-size", "8")


@pytest.fixture
def train(tmp_path, capsys, monkeypatch):
    """Run train.py in this process; gives the exit status, the output and the error output."""
    import train as script

    draw = script.draw

    def run(*arguments, pictures=False):  # drawing takes longer than all the rest
        monkeypatch.setattr(script, "draw", draw if pictures else lambda *_: None)
        status = script.main([*map(str, arguments), "--out", str(tmp_path), "--device", "cpu"])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def given_to_training(monkeypatch):
    """From now on, the samples that a study trains on are added to a list."""
    given = []

    def note(study):
        right = study.training_batches
        monkeypatch.setattr(
            study, "training_batches", lambda run, x: given.append(x) or right(run, x)
        )
        return given

    return note


def train_process(*arguments, **options):
    """Start train.py as a process, with as many threads as this one: that makes equal bits."""
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, str(EXAMPLES / "train.py"), *map(str, arguments), "--device", "cpu"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def checkpoint(run):
    """What a run left, in the way that any stranger can load it."""
    return torch.load(run / "checkpoint.pt", weights_only=True)


def assert_same_state(a, b):
    """Two checkpoints hold the same bits, but for the number of steps that was asked for."""
    differences = list(differing(a, b, ""))
    assert differences == []


def differing(a, b, path):
    if type(a) is not type(b):
        yield f"{path}: {type(a)} and {type(b)}"
    elif isinstance(a, torch.Tensor):
        if not torch.equal(a, b):
            yield path
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield f"{path}: {a.keys() ^ b.keys()}"
        for key in a.keys() & b.keys():
            yield from differing(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list):
        if len(a) != len(b):
            yield f"{path}: lengths {len(a)} and {len(b)}"
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differing(x, y, f"{path}/{i}")
    elif a != b and path != "/settings/steps":
        yield f"{path}: {a} and {b}"


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(table):
    return [{name: text for name, text in row.items() if name != "seconds"} for row in table]
