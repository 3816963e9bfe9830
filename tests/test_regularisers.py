"""consistency_term and approximate_r1, which compare two scores of a sample."""

import pytest
import torch
from torch import nn

from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.critics import NAMED, mlp
from tests.textbook_family import textbook_approximate_r1, textbook_consistency
from wgan_fast import approximate_r1, consistency_term, r1_penalty


class WithDropout(nn.Module):
    """Scores, and the features that they are made from."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Dropout(0.3))
        self.score = nn.Linear(12, 1)

    def forward(self, x, scale=1.0):
        features = self.features(x) * scale
        return self.score(features), features


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_consistency_term_against_the_textbook(margin):
    critic = WithDropout().double()
    real = torch.randn(7, 5, dtype=torch.float64)
    given = {"lambda_ct": 3.0, "margin": margin}
    torch.manual_seed(2)
    ours = consistency_term(critic, real, critic_args=(2.0,), **given)
    torch.manual_seed(2)
    theirs = textbook_consistency(critic(real, 2.0), critic(real, 2.0), **given)
    assert theirs > 0
    assert_close(ours, theirs)
    assert_same_gradients(gradients_of(ours, critic), gradients_of(theirs, critic))


def test_consistency_term_of_scores_alone_and_of_distances():
    critic = WithDropout().double()
    real = torch.randn(7, 5, dtype=torch.float64)
    passes = []
    for _ in range(3):
        torch.manual_seed(2)
        passes.append([critic(real), critic(real)])
    (first, f1), (second, f2) = passes[0]
    torch.manual_seed(2)
    alone = consistency_term(lambda x: critic(x)[0], real, reduction="none")
    assert_close(alone, 2 * (first - second).square().squeeze(1))
    torch.manual_seed(2)
    metric = consistency_term(critic, real, distance="euclidean", reduction="sum")
    distances = (first - second).norm(dim=1) + 0.1 * (f1 - f2).norm(dim=1)
    assert_close(metric, 2 * distances.sum())


def test_consistency_term_without_dropout_is_zero():
    critic = WithDropout().eval()
    for distance in ["squared", "euclidean"]:
        term = consistency_term(critic, torch.randn(4, 5), distance=distance)
        term.backward()
        assert term == 0
        assert not critic.score.weight.grad.any()


@pytest.mark.parametrize(
    "name", ["numbers", "mlp_relu", "mlp_tanh", "patch_gan", "projection_labels_in_kwargs", "lstm"]
)
def test_approximate_r1_against_the_textbook(name):
    case = NAMED[name]
    real, _ = case.samples()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    given = {"lambda_r1": 7.0, "sigma": 0.2, **case.arguments()}
    ours_module, ours_critic = case.make()
    theirs_module, theirs_critic = case.make()
    seeded = torch.Generator().manual_seed(3)
    ours = approximate_r1(ours_critic, real, generator=seeded, **given)
    theirs = textbook_approximate_r1(theirs_critic, real, noise=noise, **given)
    assert theirs > 0
    assert_close(ours, theirs)
    assert_same_gradients(gradients_of(ours, ours_module), gradients_of(theirs, theirs_module))


def test_approximate_r1_stands_for_r1():
    """Its expectation is that of R1 with gamma = 2 lambda sigma^2, to first order in sigma."""
    critic = mlp(nn.Tanh).double()
    real = torch.randn(4, 5, dtype=torch.float64).repeat(20_000, 1)
    exact = r1_penalty(critic, real[:4], gamma=2 * 100 * 0.01**2)
    assert approximate_r1(critic, real).item() == pytest.approx(exact.item(), rel=0.03)


def test_approximate_r1_drops_the_same_units_twice():
    critic = WithDropout().double().train()
    real = torch.randn(6, 5, dtype=torch.float64)
    penalty = approximate_r1(lambda x: critic(x)[0], real, lambda_r1=1.0, sigma=1e-6)
    assert penalty < 1e-9


def test_approximate_r1_follows_the_generator():
    critic, real = mlp(nn.Tanh), torch.randn(6, 5)
    values = [
        approximate_r1(critic, real, generator=torch.Generator().manual_seed(seed)).item()
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]


def test_samples_are_detached():
    critic, real = mlp(nn.Tanh), torch.randn(6, 5, requires_grad=True)
    for regulariser in [approximate_r1, consistency_term]:
        regulariser(critic, real).backward()
    assert real.grad is None


@pytest.mark.parametrize("regulariser", [approximate_r1, consistency_term])
def test_says_what_is_wrong(regulariser):
    critic, real = mlp(nn.SiLU), torch.randn(4, 5)
    for call, error, message in [
        (lambda: regulariser(critic, 1.0), TypeError, "real must be a tensor"),
        (lambda: regulariser(critic, real[:0]), ValueError, "real must not be empty"),
        (lambda: regulariser(None, real), TypeError, "critic must be callable"),
        (
            lambda: regulariser(lambda x: x.sum(), real),
            ValueError,
            "critic must return a score for",
        ),
        (
            lambda: regulariser(lambda x: (x, x, x), real),
            TypeError,
            "critic must return one tensor",
        ),
        (lambda: approximate_r1(critic, real, sigma=0), ValueError, "sigma must be above 0"),
        (lambda: approximate_r1(critic, real, generator=3), TypeError, "generator must be a torch"),
        (lambda: consistency_term(critic, real, margin=-1), ValueError, "margin must be a finite"),
        (lambda: consistency_term(critic, real, distance="l1"), ValueError, "distance must be one"),
    ]:
        with pytest.raises(error, match=message):
            call()
