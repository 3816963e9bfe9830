"""Finite differences that do not fit a critic are refused or warned of; honest critics are not."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.critics import NAMED, mlp
from wgan_fast import FiniteDifference, fast_gradient_penalty, r1_penalty

by_differences = {"double_backward": "finite_difference"}


class SurrogateSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + x.square())


class StraightThrough(nn.Module):
    def forward(self, x):
        return x + (x.round() - x).detach()


class Spiking(nn.Module):
    def forward(self, x):
        return SurrogateSpike.apply(x)


def critic_with(layer, dtype):
    return nn.Sequential(layer, nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 6, 64])
@pytest.mark.parametrize("layer", [StraightThrough, Spiking])
def test_gradients_that_are_not_those_of_the_values_are_refused(layer, batch, dtype):
    real = torch.randn(batch, 5, dtype=dtype) + 0.3
    if layer is StraightThrough:  # so far from the next step that none is met
        real = real.round() + 0.2
    with pytest.raises(RuntimeError, match="straight-through or surrogate"):
        r1_penalty(critic_with(layer(), dtype), real, **by_differences)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_every_slice_is_checked(chunk_size):
    critic = critic_with(StraightThrough(), torch.float64)
    smooth = torch.randn(6, 5, dtype=torch.float64).round() + 0.2
    for reduction in ("mean", "none"):
        with pytest.raises(RuntimeError, match="finite differences do not fit this critic"):
            r1_penalty(critic, smooth, chunk_size=chunk_size, reduction=reduction, **by_differences)


def test_scores_that_depend_on_other_samples_are_refused():
    critic, real = mlp(nn.Tanh).double(), torch.randn(64, 5, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="the score of a sample depends on other samples"):
        r1_penalty(lambda x: critic(x) - 0.9 * critic(x).mean(0), real, **by_differences)


def test_a_part_that_is_amiss_is_warned_of_at_the_users_line():
    real = torch.randn(64, 5, dtype=torch.float64)
    critic = nn.Linear(5, 1).double()

    def partly(x):
        amiss = critic(x) * 0.4
        return critic(x) + amiss.detach() - amiss

    with pytest.warns(UserWarning, match="fit this critic poorly") as caught:
        r1_penalty(partly, real, **by_differences)
    assert [w.filename for w in caught] == [__file__]


def depth(layers, activation=nn.ReLU):
    sizes = [20] + [64] * layers
    pairs = itertools.pairwise(sizes)
    return nn.Sequential(
        *(m for a, b in pairs for m in (nn.Linear(a, b), activation())), nn.Linear(64, 1)
    )


def max_pooled():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 1),
    )  # fmt: skip


KINKED = {
    "shallow": (lambda: depth(2), (20,)),
    "deep": (lambda: depth(8), (20,)),
    "leaky": (lambda: depth(4, lambda: nn.LeakyReLU(0.2)), (20,)),
    "max pooling": (max_pooled, (3, 8, 8)),
    "dcgan": (lambda: NAMED["dcgan"].make(torch.float32)[0], (3, 8, 8)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_kinks_are_neither_refused_nor_warned_of_at_the_default_step(name, batch, dtype):
    """Warnings are errors here."""
    build, shape = KINKED[name]
    critic = build().to(dtype)
    for _ in range(5):
        r1_penalty(critic, torch.randn(batch, *shape).to(dtype), **by_differences)


def test_neither_is_autocast():
    for build, shape in KINKED.values():
        with torch.autocast("cpu", torch.bfloat16):
            r1_penalty(build(), torch.randn(64, *shape), **by_differences)


@pytest.mark.parametrize("step", [1e-9, 1e-8])
def test_a_step_that_drowns_in_rounding_is_warned_of_only(step):
    critic, real = mlp(nn.Tanh), torch.randn(64, 5)
    with pytest.warns(UserWarning, match="rounding at a small one"):
        r1_penalty(critic, real, double_backward=FiniteDifference(step))


@pytest.mark.parametrize(("step", "frequency"), [(0.5, 20.0), (0.06, 75.0)])
def test_a_step_that_is_too_large_is_warned_of_only(step, frequency):
    """With the second pair, the score falls over the step where the gradient says it rises."""
    real = 2 * torch.rand(64, 1, dtype=torch.float64) - 1
    with pytest.warns(UserWarning, match="poorly"):
        r1_penalty(lambda x: (frequency * x).sin(), real, double_backward=FiniteDifference(step))


def test_large_scores_are_rounding():
    """In float32, a change of scores of a million has no digits."""
    critic = mlp(nn.Tanh)
    with pytest.warns(UserWarning, match="poorly"):
        r1_penalty(lambda x: critic(x) + 1e6, torch.randn(64, 5), **by_differences)


def test_what_costs_nothing_is_not_compared():
    """One-sided, with all norms below the target: there is nowhere to step."""
    critic = critic_with(StraightThrough(), torch.float64)
    real, fake = torch.randn(2, 16, 5, dtype=torch.float64)
    given = {"one_sided": True, "target": 100.0}
    assert fast_gradient_penalty(critic, real, fake, **given, **by_differences) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nothing_is_said_of_infinite_values(value):
    real = torch.randn(16, 5)
    real[3, 2] = value
    penalty = r1_penalty(lambda x: F.silu(x).sum(1), real, **by_differences)
    assert not penalty.isfinite()
