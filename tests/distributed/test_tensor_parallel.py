"""Tensor parallel critics: by finite differences as in one process, and never silently wrong."""

import itertools
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from tests.comparing import assert_close
from wgan_fast import critic_loss, fast_gradient_penalty, gradient_penalty_of

from .training import BY_DIFFERENCES, CLOSE, critic_of, samples, trained_here

PLAN = {"0": ColwiseParallel, "2": RowwiseParallel}


def parallel(kind):
    """The first two layers of an MLP share their work; every process has the whole batch."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    plan = {name: style() for name, style in PLAN.items()}
    return parallelize_module(critic_of(kind), mesh, plan)


def trained_parallel(kind, order, penalty, threads):
    """The weights after training, and those of the same in one process."""
    torch.set_num_threads(threads)
    return [
        trained_here(critic, kind, order, penalty, slice(None))
        for critic in (parallel(kind), critic_of(kind))
    ]


ORDERS = ["penalty last", "penalty first", "penalty alone"]
CASES = [*itertools.product(ORDERS, [None, 3], [1]), ("penalty last", None, 2)]


@pytest.mark.parametrize(("order", "chunk_size", "threads"), CASES)
def test_finite_differences(pair, order, chunk_size, threads):
    penalty = partial(BY_DIFFERENCES, chunk_size=chunk_size)
    for results in pair.run(trained_parallel, "smooth", order, penalty, threads):
        for ours, theirs in zip(*results, strict=True):
            assert_close(ours, theirs, CLOSE)


def penalise_exactly():
    critic = parallel("smooth")
    real, fake, _ = samples("smooth", 0)
    real.requires_grad_()
    for call in (
        lambda: fast_gradient_penalty(critic, real, fake),
        lambda: fast_gradient_penalty(critic, real, fake, double_backward="plain"),
        lambda: fast_gradient_penalty(critic, real, fake, chunk_size=3),
        lambda: critic_loss(critic, real, fake, r1=1.0),
        lambda: gradient_penalty_of(critic(real), real),
    ):
        with pytest.raises(RuntimeError, match=r'double_backward="finite_difference"'):
            call().backward()
    return True


def test_the_exact_penalty_is_an_error(pair):
    """PyTorch gives an input gradient without a graph, whose penalty would train nothing."""
    assert pair.run(penalise_exactly) == [True, True]
