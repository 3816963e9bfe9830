"""Losses of derivatives in the race: all agree, and they are what they are said to be."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contestants import BY_INDUCTOR, REPLAYED, compiled
from benchmarks.contestants.critic_losses import USUAL
from benchmarks.contestants.derivatives import DERIVATIVES, VISCOSITY
from benchmarks.problems.energies import MessagePassing
from benchmarks.race.agreement import enter
from benchmarks.suites import derivatives
from wgan_fast.ops import _native as native
from wgan_fast.second_order import without_thresholds

each_case = pytest.mark.parametrize(
    ("phase", "problem"), derivatives.QUICK, ids=[phase for phase, _ in derivatives.QUICK]
)
needs_kernels = pytest.mark.skipif(native.failure is not None, reason=f"{native.failure}")


def case_of(problem, phase):
    """Without what is compiled for long."""
    made = derivatives.case(problem, phase)
    for name in (*BY_INDUCTOR, "JAX jit"):
        del made.contestants[name]
    return made


@needs_kernels
@each_case
def test_all_agree(phase, problem):
    with without_thresholds():
        entered = enter(case_of(problem, phase))
    assert entered.failed == {}
    assert list(entered.steps) == [*DERIVATIVES, REPLAYED]


@each_case
def test_what_is_compiled_is_plain_pytorch(phase, problem):
    """In float64 it runs as it was recorded."""
    how, epsilon = DERIVATIVES[USUAL][phase], torch.zeros(problem.batch, dtype=torch.float64)
    value, *_ = compiled.loss(problem, how)(torch.float64, None)(epsilon)
    real, fake = problem.samples(torch.float64)
    torch.testing.assert_close(value, how(problem.critic(torch.float64), real, fake, None, ()))


def test_the_residual_is_that_of_the_burgers_equation():
    """Of u = t x², for which everything is known."""
    (real, fake) = torch.randn(2, 9, 2, dtype=torch.float64)
    loss = DERIVATIVES[USUAL]["Burgers"](lambda p: p[:, :1] * p[:, 1:] ** 2, real, fake, None, ())
    t, x = real.unbind(1)
    residual = x**2 + (t * x**2) * (2 * t * x) - VISCOSITY * 2 * t
    torch.testing.assert_close(loss, residual.square().mean())


def test_the_energy_of_molecules_does_not_change_when_they_are_moved_and_turned():
    net, positions = MessagePassing(5).double(), torch.randn(3, 5, 3, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    energies = net(positions)
    assert energies.shape == (3,)
    torch.testing.assert_close(net(positions @ turn + 1), energies)
    alone = torch.cat([net(each[None]) for each in positions])
    torch.testing.assert_close(alone, energies)
