"""The launcher: results by rank, errors with their traceback, a time limit, a new start."""

import os
import time

import pytest
import torch
import torch.distributed as dist

from .processes import ProcessError, Processes


def sum_of_ranks(base):
    mine = torch.tensor([base + dist.get_rank()])
    dist.all_reduce(mine)
    return dist.get_rank(), mine.item(), torch.get_num_threads(), torch.rand(1).item()


def fail(rank):
    if dist.get_rank() == rank:
        raise ValueError("what went wrong")
    dist.barrier()


def hang():
    time.sleep(60)


def end():
    os._exit(3)


def process_id():
    return os.getpid()


def test_results_come_by_rank_and_calls_begin_alike(pair):
    (first, second), again = (pair.run(sum_of_ranks, 10), pair.run(sum_of_ranks, 10))
    assert first[:3] == (0, 21, 1)
    assert second[:3] == (1, 21, 1)
    assert first[3] == second[3] == again[0][3]


def test_the_processes_are_started_once(pair):
    assert pair.run(process_id) == pair.run(process_id)


def test_more_processes(four):
    assert [result[1] for result in four.run(sum_of_ranks, 0)] == [6] * 4


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (
            fail,
            (1,),
            r"process 1 of 2: Traceback(.|\n)*in fail\n(.|\n)*ValueError: what went wrong",
        ),
        (hang, (), r"process 0 of 2: no answer in 0.5 s\nprocess 1 of 2: no answer"),
        (end, (), r"process 0 of 2: ended with exit code 3"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_call_starts_anew(function, args, message):
    processes = Processes(2)
    processes.run(process_id)
    began = time.monotonic()
    try:
        with pytest.raises(ProcessError, match=message):
            processes.run(function, *args, limit=0.5 if function is hang else 30)
        assert time.monotonic() - began < 20
        assert processes.run(sum_of_ranks, 1)[0][1] == 3
    finally:
        processes.close()
