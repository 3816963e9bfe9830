"""subset: the penalty estimated from a random part of the batch."""

import collections
import itertools

import pytest
import torch
from torch import nn

from tests.comparing import assert_close, gradients_of
from tests.critics import mlp
from wgan_fast import (
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from wgan_fast._penalise import draws


def every_penalty(critic, real, fake, **shared):
    """Every penalty with the same shared keywords."""
    return {
        "wgan_gp": fast_gradient_penalty(critic, real, fake, **shared),
        "r1": r1_penalty(critic, real, **shared),
        "r2": r2_penalty(critic, fake, **shared),
        "dragan": dragan_penalty(critic, real, **shared),
        "wgan_div": wgan_div_penalty(critic, real, fake, **shared),
    }


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk_size", [None, 1])
def test_subset_is_unbiased(reduction, chunk_size, monkeypatch):
    """The mean over all parts of the batch, values and gradients, is that of the whole batch."""
    critic = mlp(nn.SiLU).double()
    real, fake, given = torch.randn(3, 4, 5, dtype=torch.float64)

    def results(**shared):
        """The value and the gradient of each penalty, always with the same points."""
        torch.manual_seed(8)
        penalties = every_penalty(
            lambda x, given: critic(x + given), real, fake, reduction=reduction,
            chunk_size=chunk_size, critic_args=(given,), **shared,
        )  # fmt: skip
        return {name: value_and_gradient(value, critic) for name, value in penalties.items()}

    parts = []
    for chosen in itertools.combinations(range(4), 2):
        indices = torch.tensor(chosen)
        monkeypatch.setattr(draws, "draw_subset", lambda *_, indices=indices: indices)
        parts.append(results(subset=0.5))
    for name, expected in results().items():
        estimates = torch.stack([part[name] for part in parts])
        assert_close(estimates.mean(0), expected)
        assert estimates[:, 0].max() > 1.01 * estimates[:, 0].min()


def value_and_gradient(penalty, critic):
    grads = gradients_of(penalty, critic)
    return torch.cat([penalty.detach().reshape(1), *(g.flatten() for g in grads if g is not None)])


def test_subset_draws_every_part_alike():
    generator = torch.Generator().manual_seed(0)
    counts = collections.Counter(
        tuple(draws.draw_subset(0.5, 4, generator).tolist()) for _ in range(3000)
    )
    assert sorted(counts) == list(itertools.combinations(range(4), 2))
    # six parts, 500 each: 5 standard deviations
    assert all(abs(count - 500) < 5 * (500 * 5 / 6) ** 0.5 for count in counts.values())


@pytest.mark.parametrize(
    ("subset", "batch", "count"),
    [(0.25, 64, 16), (0.25, 2, 1), (0.01, 8, 1), (1.0, 5, 5), (1, 3, 3)],
)
def test_subset_computes_no_more_than_its_part(subset, batch, count):
    sizes = []

    def critic(x):
        sizes.append(len(x))
        return (x**2).sum(1)

    real = torch.randn(batch, 3)
    _, norms = r1_penalty(critic, real, subset=subset, return_norms=True)
    assert sizes == [count]
    each = r1_penalty(critic, real, subset=subset, reduction="none")
    assert norms.shape == each.shape == (count,)


def test_subset_follows_the_generator():
    critic, (real, fake) = mlp(nn.SiLU), torch.randn(2, 32, 5)
    epsilon = torch.rand(32)
    values = [
        fast_gradient_penalty(
            critic, real, fake, subset=0.25, epsilon=epsilon,
            generator=torch.Generator().manual_seed(seed),
        ).item()
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert values[0] == values[1] != values[2]


def test_says_what_is_wrong():
    critic, (real, fake) = mlp(nn.SiLU), torch.randn(2, 4, 5)
    for subset in [0.0, 1.5]:
        with pytest.raises(ValueError, match=r"subset must be a share of the batch, in \(0, 1\]"):
            r1_penalty(critic, real, subset=subset)
    with pytest.raises(ValueError, match="subset must be None for a maximum"):
        max_gradient_penalty(critic, real, fake, subset=0.5)
