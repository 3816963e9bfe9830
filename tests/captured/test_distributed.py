"""A captured loss of a critic in DistributedDataParallel: gradients are averaged as ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.captured.training import assert_equal
from tests.captured.two_processes import CASES, IMPOSSIBLE, critic_of, train
from tests.comparing import assert_close

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.captured.two_processes"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_it_is_eagers(results, case):
    if case in IMPOSSIBLE:
        pytest.skip(
            "in eager mode, too, this PyTorch's DistributedDataParallel changes running means that "
            "the backward pass of an earlier call needs"
        )
    for rank, result in enumerate(results):
        ours, theirs = result[case, "captured"], result[case, "eager"]
        # Eager exchanges buffers before every call of the critic, a graph before all of them: those
        # of other processes than the first are overwritten at the next step in both.
        names = [name for name in theirs if rank == 0 or "running" not in name]
        assert ours.keys() == theirs.keys()
        assert len(names) > 6
        assert_equal([ours[name] for name in names], [theirs[name] for name in names])


@pytest.mark.parametrize("case", [case for case in CASES if case != "batch_norm"])
def test_two_processes_equal_one(results, case):
    alone = train(critic_of(case), case, lambda loss: loss, 0, 1)
    for result in results:
        ours = result[case, "captured"]
        assert ours.keys() == alone.keys()
        for name, value in alone.items():
            assert_close(ours[name], value)
