"""examples/train.py in two processes: trains as in one, and goes on in one where it stopped."""

import os
import subprocess
import sys

import pytest
import torch

from tests.comparing import assert_close

from .examples import EXAMPLES

TINY = ["--data", "gaussians8", "--width", "8", "--batch-size", "8", "--device", "cpu", "--quick"]


def train(*arguments):
    """Runs the script without its pictures, in this process; gives its exit status."""
    import train as script

    script.draw = lambda *_: None
    return script.main([*TINY, *map(str, arguments)])


def checkpoint(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What six steps in one process come to, and the folder with the first three."""
    folder = tmp_path_factory.mktemp("alone")
    for steps in (3, 6):
        assert train("--steps", steps, "--out", folder, "--name", f"{steps}") == 0
    return checkpoint(folder / "6"), folder / "3"


def assert_same_run(ours, theirs):
    """The same but for rounding: the random numbers are the same, the order of sums is not.

    In float32: a rounding of 1e-7 grows a hundredfold in some steps of Adam, which divides by small
    gradients, and its second moments are squares of these besides.
    """
    assert ours["step"] == theirs["step"]
    assert torch.equal(ours["rng"], theirs["rng"])
    for part in ("critic", "generator", "averaged_generator"):
        assert ours[part].keys() == theirs[part].keys()
        for name in ours[part]:
            assert type(ours[part][name]) is torch.Tensor
            assert_close(ours[part][name], theirs[part][name], rtol=1e-4)
    for part in ("critic_optimizer", "generator_optimizer"):
        assert ours[part]["param_groups"] == theirs[part]["param_groups"]
        for index, values in theirs[part]["state"].items():
            for name, value in values.items():
                assert_close(ours[part]["state"][index][name], value, rtol=1e-3)


def test_torchrun_and_on_in_one_process(alone, tmp_path):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *(str(EXAMPLES / "train.py"), *TINY, "--steps", "3", "--out", str(tmp_path)),
        ],
        capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("wrote samples.png") == 1, "one process speaks"
    left = {"samples.png", "curves.png", "summary.png", "metrics.csv", "checkpoint.pt"}
    assert left <= {path.name for path in (tmp_path / "gaussians8").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["gaussians8"]
    assert train("--resume", tmp_path / "gaussians8", "--steps", 6) == 0
    assert_same_run(checkpoint(tmp_path / "gaussians8"), alone[0])


@pytest.mark.parametrize(
    "options",
    [(), ("--captured",), ("--fsdp",)],
    ids=["replicated", "captured", "sharded"],
)
def test_two_processes_and_on_in_one(pair, alone, tmp_path, options):
    begin = ("--steps", 3, "--out", tmp_path, "--name", "run", *options)
    assert pair.run(train, *begin) == [0, 0]
    assert train("--resume", tmp_path / "run", "--steps", 6) == 0
    assert_same_run(checkpoint(tmp_path / "run"), alone[0])


@pytest.mark.parametrize("options", [(), ("--fsdp",)], ids=["replicated", "sharded"])
def test_on_in_two_processes(pair, alone, options):
    assert pair.run(train, "--resume", alone[1], "--steps", 6, *options) == [0, 0]
    assert_same_run(checkpoint(alone[1]), alone[0])


def test_what_is_wrong_is_told(pair, tmp_path, capsys):
    assert train("--fsdp", "--out", tmp_path) == 2
    assert "start them with torchrun" in capsys.readouterr().err
    assert pair.run(train, "--batch-size", 7, "--out", tmp_path) == [2, 2]
    assert pair.run(train, "--fsdp", "--captured", "--out", tmp_path) == [2, 2]
