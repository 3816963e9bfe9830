"""Samples that meet in a critic are warned of with chunk_size, where they meet."""

import warnings

import pytest
import torch
from torch import nn

from tests.critic_modules import Pac
from tests.critics import CRITICS, mlp
from wgan_fast import fast_gradient_penalty, gradient_norms, r1_penalty


class MinibatchDeviation(nn.Module):
    """The last layer but one of StyleGAN's critic."""

    def forward(self, x):
        return torch.cat([x, x.std(0).mean().expand(len(x), 1)], 1)


class Neighbours(nn.Module):
    """The samples meet in the forward pass of the critic itself."""

    def __init__(self):
        super().__init__()
        self.net = mlp(nn.Tanh)

    def forward(self, x):
        return self.net(x) * x.roll(1, 0).sum(1, keepdim=True)


def with_deviation():
    return nn.Sequential(
        nn.Linear(5, 8), nn.SiLU(), nn.Sequential(MinibatchDeviation(), nn.Linear(9, 1))
    )


REAL, FAKE = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1))


def warned(critic, chunk_size=4, **shared):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fast_gradient_penalty(critic, REAL, FAKE, chunk_size=chunk_size, **shared).sum().backward()
    assert {w.filename for w in caught} <= {__file__}
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("choice", ["pruned", "plain"])
def test_the_layer_is_named_once_for_each_critic(reduction, choice):
    for _ in range(2):
        critic = with_deviation()
        (message,) = warned(critic, reduction=reduction, double_backward=choice)
        assert "they meet in 2.0 (MinibatchDeviation)" in message
        assert warned(critic, reduction=reduction, double_backward=choice) == []


def test_where_no_layer_can_be_named():
    (message,) = warned(Neighbours())
    assert "they meet in the critic itself (Neighbours)" in message
    critic = with_deviation()
    (message,) = warned(lambda x: critic(x))
    assert "they meet. " in message
    critic = with_deviation()
    (message,) = warned(lambda x: critic(x), module=critic)
    assert "they meet in 2.0 " in message


def test_a_compiled_critic():
    torch._dynamo.reset()
    critic = torch.compile(Neighbours(), backend="aot_eager")
    told = pytest.warns(UserWarning, match="other samples of the batch: they meet[.]")
    with torch._functorch.config.patch(donated_buffer=False), told:
        gradient_norms(critic, REAL, FAKE, chunk_size=4)


def test_batch_normalisation_is_warned_of_once():
    critic = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1))
    (message,) = warned(critic)
    assert "batch normalisation in training mode" in message


@pytest.mark.parametrize(("chunk_size", "told"), [(4, False), (6, False), (3, True), (2, True)])
def test_packs_that_no_slice_cuts_are_fine(chunk_size, told):
    """Of two samples. Slices of three cut them; of two, it cannot be told how large they are."""
    packed = Pac(mlp(nn.Tanh, size=10))
    critic = packed if chunk_size % 2 == 0 else Neighbours()
    assert bool(warned(critic, chunk_size)) == told


def test_it_is_looked_at_without_a_further_call():
    calls = []
    net = mlp(nn.Tanh)

    def critic(x):
        calls.append(len(x))
        return net(x)

    r1_penalty(critic, REAL, chunk_size=4)
    assert calls == [4, 4]


def test_the_hooks_are_gone_afterwards():
    critic = mlp(nn.Tanh)
    r1_penalty(critic, REAL, chunk_size=4)
    assert not any(part._forward_hooks for part in critic.modules())


def test_samples_that_do_not_meet_are_not_warned_of():
    """Warnings are errors here."""
    for case in CRITICS:
        if not case.batch_dependent:
            _, critic = case.make()
            real, fake = case.samples(6)
            fast_gradient_penalty(critic, real, fake, chunk_size=4, **case.arguments(6))
