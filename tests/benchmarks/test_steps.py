"""The loss of a critic's step in the race: who computes it agrees, and the critics are as said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.contestants import BY_INDUCTOR, REPLAYED, compiled, eager, jax_jit
from benchmarks.contestants.critic_losses import CRITIC_LOSSES, USUAL
from benchmarks.flops import flops_of
from benchmarks.problems import critics, stylegan
from benchmarks.problems.problem import GAMMA, Problem
from benchmarks.race.agreement import enter
from benchmarks.race.counts import counts
from benchmarks.suites import steps
from wgan_fast import r1_penalty, second_order

PROJECTION = Problem("projection", lambda: critics.Projection(3, 8), (3, 32, 32), 8, classes=3)
R3GAN = Problem("r3gan", lambda: stylegan.r3gan(8, 16, blocks=1), (3, 8, 8), 8)
STYLEGAN2 = Problem("stylegan2", lambda: stylegan.stylegan2(8, 4, deviation=False), (3, 8, 8), 8)
DEVIATION = Problem("deviation", lambda: stylegan.stylegan2(8, 4), (3, 8, 8), 8, smooth=True)
CRITICS = (PROJECTION, R3GAN, STYLEGAN2, DEVIATION)

every_phase = pytest.mark.parametrize("phase", steps.PHASES)


def case_of(problem, phase):
    """Without those whose compilation takes long."""
    made = steps.case(problem, phase)
    for name in (*BY_INDUCTOR, "JAX jit"):
        del made.contestants[name]
    return made


@every_phase
@pytest.mark.parametrize("problem", CRITICS, ids=lambda p: p.name)
def test_all_agree(problem, phase):
    with second_order.without_thresholds():  # critics so small would share the forward pass
        entered = enter(case_of(problem, phase))
    assert entered.failed == {}
    assert list(entered.steps) == [*CRITIC_LOSSES, REPLAYED]


@every_phase
def test_what_is_compiled_is_the_usual_code(phase):
    """In float64 it runs as it was recorded."""
    problem, how = DEVIATION, CRITIC_LOSSES[USUAL][phase]
    epsilon = torch.rand(8, dtype=torch.float64)
    recorded = compiled.loss(problem, how)(torch.float64, None)(epsilon)
    eagerly = eager.loss(problem, USUAL, how)(torch.float64, None)(epsilon)
    for ours, theirs in zip(recorded, eagerly, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_phase
def test_jax_computes_the_same(phase):
    pytest.importorskip("jax", reason="jax is not installed; pip install jax")
    problem = Problem("mlp", lambda: critics.mlp(5, 8, 2), (5,), 8)
    case = case_of(problem, phase)
    case.contestants["JAX jit"] = jax_jit.critic_loss(problem, phase)
    entered = enter(case)
    assert entered.failed == {}
    assert "JAX jit" in entered.steps


def test_who_forgets_half_of_a_penalty_does_not_race():
    def forgetful(critic, real, fake, epsilon, args):
        whole = CRITIC_LOSSES[USUAL]["R1+R2"](critic, real, fake, epsilon, args)
        return whole - r1_penalty(critic, real, gamma=GAMMA) / 2

    case = case_of(R3GAN, "R1+R2")
    case.contestants["forgetful"] = eager.loss(R3GAN, "forgetful", forgetful)
    assert "differ from usual" in enter(case).failed["forgetful"]


#: Passes of the usual code, the separate calls and critic_loss: linear piece by piece, and others.
PASSES = {
    "R1": ([9, 10, 7], [9, 12, 9]),
    "R1+R2": ([12, 14, 8], [12, 18, 12]),
    "WGAN-GP": ([12, 10, 10], [12, 12, 12]),
}


@every_phase
@pytest.mark.parametrize("smooth", [False, True], ids=["linear", "smooth"])
def test_passes_are_counted(phase, smooth):
    activation = nn.SiLU if smooth else nn.ReLU
    problem = Problem("mlp", lambda: critics.mlp(16, 512, 3, activation), (16,), 64)
    case = case_of(problem, phase)
    critic, (real, _) = problem.critic(torch.float32), problem.samples(torch.float32)
    first = flops_of(lambda: critic[0](real)) / problem.forward_flops()
    counted = counts(case, enter(case).steps)
    assert list(counted) == [*CRITIC_LOSSES, REPLAYED]
    # A graph leaves out products of which nobody reads the result.
    captured = counted.pop(REPLAYED)["passes"]
    assert 0.97 * counted["wgan_fast"]["passes"] < captured <= counted["wgan_fast"]["passes"]
    # A backward pass over scores alone leaves out the gradient of the first layer's input; the last
    # layer of one score is no product in some of the passes.
    for row, whole in zip(counted.values(), PASSES[phase][smooth], strict=True):
        assert whole - 2 * first - 0.01 < row["passes"] < whole + 0.01


# The critics.


def test_a_blurred_constant_stays_itself_within():
    x = torch.full((2, 3, 8, 8), 5.0)
    halved = stylegan.halving()(x)
    assert halved.shape == (2, 3, 4, 4)
    assert torch.equal(halved[..., 1:-1, 1:-1], torch.full((2, 3, 2, 2), 5.0))


def test_a_blur_keeps_features_apart():
    x = torch.zeros(1, 3, 8, 8)
    x[0, 1, 2, 2] = 64.0
    halved = stylegan.halving()(x)
    assert halved[0, [0, 2]].count_nonzero() == 0
    assert torch.equal(halved[0, 1, :2, :2], torch.tensor([[1.0, 3.0], [3.0, 9.0]]))


def test_minibatch_deviation_is_that_of_groups():
    x = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    found = stylegan.MinibatchDeviation()(x)
    assert torch.equal(found[:, :3], x)
    for first in (0, 1):  # samples 0, 2, 4, 6 and 1, 3, 5, 7 are a group
        deviation = x[first::2].std(0, correction=0).mean()
        torch.testing.assert_close(
            found[first::2, 3], deviation.expand(4, 2, 2), rtol=1e-6, atol=0.0
        )


@pytest.mark.parametrize("problem", [R3GAN, STYLEGAN2, DEVIATION], ids=lambda p: p.name)
def test_critics_are_linear_piece_by_piece_or_said_to_be_smooth(problem):
    critic, x = problem.critic(torch.float64), problem.samples(torch.float64)[0].requires_grad_()
    (gradients,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradients.square().sum(), x, materialize_grads=True)
    assert (second.count_nonzero() > 0) == problem.smooth
