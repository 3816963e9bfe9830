"""DistributedDataParallel: two processes train as one does."""

import contextlib
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.comparing import assert_close
from tests.textbook import textbook_gradient_penalty
from wgan_fast import critic_loss, fast_gradient_penalty, gradient_norms
from wgan_fast._penalise.engines import Engines

from .training import (
    BATCH,
    CLOSE,
    EVERY_ORDER,
    assert_as_in_one_process,
    critic_of,
    mean_of_penalties,
    my_rows,
    samples,
    trained_here,
)

OPTIONS = {
    "plain": {},
    "find_unused_parameters": {"find_unused_parameters": True},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
}
WAYS = {
    "in slices": partial(fast_gradient_penalty, chunk_size=3),
    "each in slices": partial(mean_of_penalties, chunk_size=3),
    "plain": partial(fast_gradient_penalty, double_backward="plain"),
}


def replicated(kind, order, options=None, penalty=fast_gradient_penalty, threads=1):
    torch.set_num_threads(threads)
    critic = DistributedDataParallel(critic_of(kind), **(options or {}))
    return trained_here(critic, kind, order, penalty)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("order", EVERY_ORDER)
def test_every_order(pair, order, options):
    results = pair.run(replicated, "piecewise linear", order, options)
    assert_as_in_one_process(results, "piecewise linear", order)


@pytest.mark.parametrize("kind", ["smooth", "spectral norm", "convolutions"])
@pytest.mark.parametrize("order", ["penalty last", "penalty alone", "critic_loss"])
def test_every_critic(pair, kind, order):
    assert_as_in_one_process(pair.run(replicated, kind, order), kind, order)


@pytest.mark.parametrize("order", ["penalty last", "penalty alone"])
def test_a_layer_that_is_not_used(pair, order):
    results = pair.run(replicated, "unused layer", order, {"find_unused_parameters": True})
    assert_as_in_one_process(results, "unused layer", order)


@pytest.mark.parametrize("penalty", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("order", ["penalty last", "penalty first", "penalty alone"])
def test_other_ways_to_compute_it(pair, order, penalty):
    results = pair.run(replicated, "piecewise linear", order, {}, penalty)
    assert_as_in_one_process(results, "piecewise linear", order)


def test_two_threads(pair):
    results = pair.run(replicated, "convolutions", "penalty last", {}, fast_gradient_penalty, 2)
    assert_as_in_one_process(results, "convolutions", "penalty last")


def in_two_parts(order):
    """The first half of this process's samples without an exchange of gradients."""
    critic = DistributedDataParallel(critic_of("piecewise linear"))

    def differentiate(loss, *batch):
        halves = zip(*(x.chunk(2) for x in batch), strict=True)
        for last, half in enumerate(halves):
            with contextlib.nullcontext() if last else critic.no_sync():
                (loss(*half) / 2).backward()

    return trained_here(critic, "piecewise linear", order, differentiate=differentiate)


@pytest.mark.parametrize("order", ["penalty last", "penalty first", "penalty alone"])
def test_no_sync(pair, order):
    assert_as_in_one_process(pair.run(in_two_parts, order), "piecewise linear", order)


def by_the_module(order, everything):
    """The penalty of ``critic.module``; the scores as well, or of the wrapper."""
    critic = DistributedDataParallel(critic_of("piecewise linear"))

    def average():
        for weight in critic.parameters() if everything else ():
            if weight.grad is not None:
                dist.all_reduce(weight.grad)
                weight.grad /= dist.get_world_size()

    def penalty(_, *batch, **keywords):
        return fast_gradient_penalty(critic.module, *batch, **keywords)

    called = critic.module if everything else critic
    return trained_here(called, "piecewise linear", order, penalty, before_step=average)


@pytest.mark.parametrize(
    ("order", "everything"),
    [("penalty last", False), ("penalty first", False), ("penalty alone", True)],
)
def test_the_module_in_it(pair, order, everything):
    """Its penalty beside scores of the wrapper; or everything of it, averaged by hand."""
    results = pair.run(by_the_module, order, everything)
    assert_as_in_one_process(results, "piecewise linear", order)


def with_static_graph():
    critic = DistributedDataParallel(critic_of("piecewise linear"), static_graph=True)
    real, fake, epsilon = samples("piecewise linear", 0, my_rows())
    for call in (
        lambda: fast_gradient_penalty(critic, real, fake),
        lambda: fast_gradient_penalty(critic, real, fake, chunk_size=2),
        lambda: fast_gradient_penalty(lambda x: critic(x), real, fake, module=critic),
        lambda: critic_loss(critic, real, fake, r1=1.0),
    ):
        with pytest.raises(ValueError, match=r"static_graph=True.*pass critic.module.*all_reduce"):
            call()
    norms = gradient_norms(critic, real, fake, epsilon=epsilon)  # trains nothing
    return len(norms.interpolates)


def test_a_static_graph_is_refused(pair):
    assert pair.run(with_static_graph) == [BATCH // 2] * 2


class Around(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def _of_both(critic, around):
    return lambda x: around(x) if critic.training else critic(x)


#: What calls a DistributedDataParallel.
AROUND = {
    "nothing": lambda critic: critic,
    "method": lambda critic: critic.forward,
    "lambda": lambda critic: lambda x: critic(x),
    "lambda of its forward": lambda critic: lambda x: critic.forward(x),
    "partial of a lambda": lambda critic: partial(lambda scale, x: scale * critic(x), 1.0),
    "module": Around,
    "lambda of both": lambda critic: _of_both(critic, Around(critic)),
}


def not_exchanged(way, chunk_size):
    """Gradients of a penalty that was computed without an exchange, and differentiated later."""
    inner = critic_of("piecewise linear")
    critic = DistributedDataParallel(inner)
    real, fake, epsilon = samples("piecewise linear", 0, my_rows())
    each = {"epsilon": epsilon, "reduction": "none", "chunk_size": chunk_size}
    with critic.no_sync():
        loss = fast_gradient_penalty(AROUND[way](critic), real, fake, **each).mean()
    loss.backward()
    ours = [weight.grad.clone() for weight in inner.parameters() if weight.grad is not None]
    inner.zero_grad()
    textbook_gradient_penalty(inner, real, fake, epsilon=epsilon).backward()
    theirs = [weight.grad for weight in inner.parameters() if weight.grad is not None]
    return [x for x in ours if x.any()], [x for x in theirs if x.any()]


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("way", AROUND)
def test_a_slice_that_is_computed_again_begins_no_iteration(pair, way, chunk_size):
    """Each process keeps its own gradients, and does not average them after all."""
    for ours, theirs in pair.run(not_exchanged, way, chunk_size):
        assert len(ours) == len(theirs) > 0
        for mine, textbook in zip(ours, theirs, strict=True):
            assert_close(mine, textbook, CLOSE)


def with_two_modules():
    """The wrapper is not the first module that a function closes over."""
    kind = "piecewise linear"
    critic, augment = DistributedDataParallel(critic_of(kind)), torch.nn.Identity()
    fixed = DistributedDataParallel(critic_of(kind), static_graph=True)
    real, fake, _ = samples(kind, 0, my_rows())
    with pytest.raises(ValueError, match="static_graph=True"):
        fast_gradient_penalty(lambda x: fixed(augment(x)), real, fake)

    def penalty(_, *batch, **keywords):
        return fast_gradient_penalty(lambda x: critic(augment(x)), *batch, **keywords)

    return trained_here(critic, kind, "penalty alone", penalty)


def test_a_function_of_two_modules(pair):
    results = pair.run(with_two_modules)
    assert_as_in_one_process(results, "piecewise linear", "penalty alone")


def test_a_forward_of_the_wrappers_own_is_put_back():
    for own in ({}, {"forward": lambda x: x}):
        wrapper = nn.Sequential(nn.Identity())
        wrapper.module = nn.Identity()
        vars(wrapper).update(own)
        with Engines([wrapper]).without_reducers(wrapper) as called:
            assert called is wrapper
            assert wrapper.forward == wrapper.module.__call__
        assert {name: value for name, value in vars(wrapper).items() if name == "forward"} == own
