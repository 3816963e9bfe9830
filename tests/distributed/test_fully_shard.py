"""``fully_shard``: two processes train as one does, whatever is kept gathered, in any order."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from benchmarks.flops import flops_of
from wgan_fast import FiniteDifference, critic_loss, fast_gradient_penalty, max_gradient_penalty
from wgan_fast.second_order import without_thresholds

from .training import (
    CRITICS,
    EVERY_ORDER,
    ORDERS,
    assert_as_in_one_process,
    critic_of,
    mean_of_penalties,
    my_rows,
    samples,
    trained_here,
)

LAYERS = (nn.Linear, nn.Conv2d, nn.InstanceNorm2d, nn.GroupNorm)


def sharded(critic, *, by_layer, keep=False, **options):
    """The critic, sharded as a whole or layer by layer; with its weights kept after a backward
    pass, which FSDP is usually told for a double backward."""
    if by_layer:
        for part in critic.modules():
            if isinstance(part, LAYERS) and list(part.parameters()):
                fully_shard(part, **options)
    fully_shard(critic, **options)
    if keep:
        critic.set_reshard_after_backward(False)
    return critic


def reshard(critic):
    for part in critic.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def trained_sharded(kind, order, by_layer, keep=False, penalty=fast_gradient_penalty, threads=1):
    torch.set_num_threads(threads)
    critic = sharded(critic_of(kind), by_layer=by_layer, keep=keep)
    before_step = partial(reshard, critic) if keep else lambda: None
    return trained_here(critic, kind, order, penalty, before_step=before_step)


by_layer = pytest.mark.parametrize("by_layer", [False, True], ids=["root", "layers"])


@by_layer
@pytest.mark.parametrize("keep", [False, True], ids=["resharded", "kept"])
@pytest.mark.parametrize("order", EVERY_ORDER)
def test_every_order(pair, order, by_layer, keep):
    results = pair.run(trained_sharded, "piecewise linear", order, by_layer, keep)
    assert_as_in_one_process(results, "piecewise linear", order)


@by_layer
@pytest.mark.parametrize("kind", CRITICS)
@pytest.mark.parametrize("order", ["penalty last", "penalty first"])
def test_every_critic(pair, kind, order, by_layer):
    assert_as_in_one_process(pair.run(trained_sharded, kind, order, by_layer), kind, order)


@by_layer
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("keep", [False, True], ids=["resharded", "kept"])
def test_in_slices(pair, order, by_layer, keep):
    penalty = partial(fast_gradient_penalty, chunk_size=3)
    results = pair.run(trained_sharded, "piecewise linear", order, by_layer, keep, penalty)
    assert_as_in_one_process(results, "piecewise linear", order)


@by_layer
def test_two_threads(pair, by_layer):
    results = pair.run(
        trained_sharded, "convolutions", "penalty last", by_layer, False, fast_gradient_penalty, 2
    )
    assert_as_in_one_process(results, "convolutions", "penalty last")
