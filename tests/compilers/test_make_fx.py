"""Recorded by ``make_fx``: the loss with its gradients, called again with other samples."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import wgan_fast
from tests.compilers.steps import (
    CASES,
    Batch,
    assert_same,
    batch_of,
    expected,
    make_critic,
    with_gradients,
)
from wgan_fast.second_order import without_thresholds

each_case = pytest.mark.parametrize("name", CASES)
each_mode = pytest.mark.parametrize("mode", ["real", "symbolic"])


def record(step, batch, mode):
    # The parameters are not among the arguments of the step.
    return make_fx(step, tracing_mode=mode, _allow_non_fake_inputs=True)(*batch)


@each_case
@pytest.mark.parametrize(("mode", "always"), [("real", False), ("real", True), ("fake", True)])
def test_the_recorded_step_is_the_textbooks(name, mode, always):
    critic = make_critic()
    with without_thresholds() if always else contextlib.nullcontext():
        graph = record(with_gradients(CASES[name].ours, critic), batch_of(1), mode)
    with torch.no_grad():  # parameters are read where they lie
        for parameter in critic.parameters():
            parameter.mul_(1.1)
    assert_same(graph(*batch_of(2)), expected(name, critic, batch_of(2)))


@pytest.mark.parametrize("mode", ["real"])
@pytest.mark.parametrize("keywords", [{"double_backward": "plain"}, {"backend": "pytorch"},
                                      {"backend": "reference"}, {"chunk_size": 8}])  # fmt: skip
def test_keywords(mode, keywords):
    critic = make_critic()
    step = with_gradients(CASES["fast_gradient_penalty"].ours, critic, **keywords)
    graph = record(step, batch_of(1), mode)
    theirs = expected("fast_gradient_penalty", critic, batch_of(2))
    assert_same(graph(*batch_of(2)), theirs)


@pytest.mark.skipif(
    torch.__version__ < "2.13",
    reason="before PyTorch 2.13, convolutions of symbolic sizes have no double backward",
)
@pytest.mark.parametrize("name", ["fast_gradient_penalty", "critic_loss"])
def test_a_symbolic_batch_may_have_another_size(name):
    critic = make_critic()
    graph = record(with_gradients(CASES[name].ours, critic), batch_of(1), "symbolic")
    assert_same(graph(*batch_of(2, size=13)), expected(name, critic, batch_of(2, size=13)))


def test_a_backward_pass_is_shared_once_that_was_proved():
    critic = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    ways = []

    def loss(critic, batch):
        value, parts = wgan_fast.critic_loss(
            critic, batch.real, batch.fake, loss="gan", r1=1.0, return_parts=True
        )
        ways.append(parts.ways["real"])
        return value

    step = with_gradients(loss, critic)
    with without_thresholds():
        before = record(step, batch_of(1), "real")
        theirs = step(*batch_of(2))
        after = record(step, batch_of(1), "real")
    assert ways == ["shared forward: the call is being traced or transformed",
                    "shared backward", "shared backward"]  # fmt: skip
    for graph in (before, after):
        assert_same(graph(*batch_of(2)), theirs)


def test_a_recorded_step_is_pruned():
    """Hooks run while it is recorded: what they cut is not in the graph."""
    counts = {}
    for choice in ("pruned", "plain"):
        critic = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()
        step = with_gradients(CASES["r1_penalty"].ours, critic, double_backward=choice)
        with without_thresholds():
            graph = record(step, batch_of(1), "real")
        products = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        graph.graph.eliminate_dead_code()
        counts[choice] = sum(node.target in products for node in graph.graph.nodes)
    assert counts["pruned"] < counts["plain"]


@each_mode
@pytest.mark.parametrize("backend", ["auto", "pytorch"])
def test_every_call_draws_anew(mode, backend):
    critic = make_critic()

    def step(real, fake, epsilon):
        penalty = wgan_fast.fast_gradient_penalty(critic, real, fake, backend=backend)
        return penalty, wgan_fast.dragan_penalty(critic, real, backend=backend)

    batch = batch_of(1)
    graph = record(step, batch, mode)
    for _ in range(2):
        torch.manual_seed(7)
        ours = graph(*batch)
        torch.manual_seed(7)
        assert [a.item() == pytest.approx(b.item(), rel=1e-12)
                for a, b in zip(ours, step(*batch), strict=True)] == [True, True]  # fmt: skip
    assert graph(*batch)[0] != ours[0]


@each_mode
@pytest.mark.parametrize(
    "penalty",
    [
        lambda critic, batch: CASES["r1_penalty"].ours(critic, batch, chunk_size=3),
        lambda critic, batch: (
            CASES["r1_penalty"].ours(critic, batch, chunk_size=3, reduction="none").sum()
        ),
        lambda critic, batch: CASES["r1_penalty"].ours(
            critic, batch, double_backward="finite_difference"
        ),
        lambda critic, batch: wgan_fast.approximate_r1(critic, batch.real),
    ],
    ids=["chunk_size", "chunk_size none", "finite_difference", "approximate_r1"],
)
def test_what_sets_the_critic_back_is_refused(mode, penalty):
    with pytest.raises(RuntimeError, match="which make_fx cannot record"):
        record(with_gradients(penalty, make_critic()), batch_of(1), mode)


def test_values_are_looked_at_again_afterwards():
    critic, batch = make_critic(), batch_of(1)
    record(with_gradients(CASES["fast_gradient_penalty"].ours, critic), batch, "fake")
    with pytest.raises(ValueError, match=r"epsilon must lie in \[0, 1\]"):
        CASES["fast_gradient_penalty"].ours(critic, Batch(*batch[:2], batch.epsilon + 1))
