"""Each method minimises what its paper says, in float64, and trains on images and on points."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from gan import methods, models
from gan.methods import METHODS

from tests import textbook, textbook_family
from wgan_fast import ops

BATCH = 6
NAMES = list(METHODS)


@pytest.fixture(params=[(1, 8, 8), (2,)], ids=["images", "points"])
def shape(request):
    return request.param


def critic_real_fake(shape, dropout=0.0):
    torch.manual_seed(7)
    critic, _ = models.networks(shape, width=4, dropout=dropout)
    real, fake = torch.randn(2, BATCH, *shape, dtype=torch.float64)
    with torch.no_grad():  # slopes on both sides of 1, so that no term is far from all others
        for parameter in critic.parameters():
            parameter.mul_(3)
    return critic.double(), real, 1.5 * fake + 0.5


def drawn_epsilon(real):
    """The mixing factors that the library draws from this state of the random numbers."""
    return ops.drawn_epsilon(real, torch.randint(2**63 - 1, ()))


def wgan_gp(critic, real, fake, weight, **options):
    epsilon = drawn_epsilon(real)
    return textbook.textbook_gradient_penalty(
        critic, real, fake, epsilon=epsilon, lambda_gp=weight, **options
    )


def wgan_lp(critic, real, fake, weight):
    return wgan_gp(critic, real, fake, weight, one_sided=True)


def zero_centred(critic, real, fake, weight):
    return wgan_gp(critic, real, fake, weight, target=0.0)


def wgan_div(critic, real, fake, weight):
    epsilon = drawn_epsilon(real)
    return textbook_family.textbook_wgan_div(critic, real, fake, epsilon=epsilon, k=weight)


def max_gp(critic, real, fake, weight):
    epsilon = drawn_epsilon(real)
    return textbook_family.textbook_max_gradient(
        critic, real, fake, epsilon=epsilon, lambda_gp=weight
    )


def ct_gan(critic, real, fake, weight):
    penalty = wgan_gp(critic, real, fake, weight)
    passes = []
    for _ in range(2):
        features = critic[:-1](real)
        passes.append((critic[-1](features), features))
    return penalty + textbook_family.textbook_consistency(*passes)


def r1(critic, real, fake, weight):
    return textbook_family.textbook_r1(critic, real, gamma=weight)


def r2(critic, real, fake, weight):
    return textbook_family.textbook_r1(critic, fake, gamma=weight)


def approximate_r1(critic, real, fake, weight):
    noise = torch.randn(real.shape, dtype=torch.float64)
    return textbook_family.textbook_approximate_r1(critic, real, noise=noise, lambda_r1=weight)


def dragan(critic, real, fake, weight):
    uniform = torch.rand(real.shape, dtype=torch.float64)
    return textbook_family.textbook_dragan(critic, real, uniform=uniform, lambda_gp=weight)


# The papers' penalties and weights.
PENALTIES = {
    "wgan-gp": (wgan_gp, 10.0),
    "wgan-lp": (wgan_lp, 10.0),
    "wgan-div": (wgan_div, 2.0),
    "max-gp": (max_gp, 10.0),
    "ct-gan": (ct_gan, 10.0),
    "r1": (r1, 10.0),
    "r2": (r2, 10.0),
    "approximate-r1": (approximate_r1, 100.0),
    "0-gp": (zero_centred, 10.0),
    "dragan": (dragan, 10.0),
}
WITHOUT_PENALTY = ("wgan", "gan", "gan-minimax", "gan-noise", "gan-minimax-noise")
WASSERSTEIN = ("wgan-gp", "wgan-lp", "wgan", "wgan-div", "max-gp", "ct-gan")


def test_every_method_is_here():
    assert sorted([*PENALTIES, *WITHOUT_PENALTY]) == sorted(METHODS)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_penalty_and_its_gradient_are_those_of_the_paper(name, shape):
    method, (paper, weight) = METHODS[name], PENALTIES[name]
    assert method.weight == weight
    critic, real, fake = critic_real_fake(shape, method.dropout)
    results = []
    for penalty in (method.penalty, paper):
        torch.manual_seed(1)  # the same interpolates, noise and dropped features
        value = penalty(critic, real, fake, 0.7 * weight)
        gradients = torch.autograd.grad(value, list(critic.parameters()), materialize_grads=True)
        results.append([value.detach(), *gradients])
    assert results[1][0] > 1e-6, "nothing to compare"
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", WITHOUT_PENALTY)
def test_the_others_have_no_penalty(name):
    critic, real, fake = critic_real_fake((2,))
    assert METHODS[name].weight == 0
    assert METHODS[name].penalty(critic, real, fake, 10.0) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_are_those_of_the_paper(name):
    torch.manual_seed(2)
    real, fake = torch.randn(BATCH, 1).double(), torch.randn(BATCH + 1, 1).double()
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    if name in WASSERSTEIN:
        critic_loss = fake.mean() - real.mean()
        generator_loss = -fake.mean()
    else:  # Goodfellow et al., arXiv 1406.2661, in probabilities
        critic_loss = -(torch.log(d_real).mean() + torch.log(1 - d_fake).mean())
        minimax, practice = torch.log(1 - d_fake).mean(), -torch.log(d_fake).mean()
        generator_loss = minimax if "minimax" in name else practice
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(METHODS[name].critic_loss(real, fake), critic_loss, **close)
    torch.testing.assert_close(METHODS[name].generator_loss(fake), generator_loss, **close)


@pytest.mark.parametrize("name", NAMES)
def test_what_else_the_papers_set(name):
    method = METHODS[name]
    assert method.n_critic == (5 if name in WASSERSTEIN else 1)
    assert method.learning_rate == (5e-5 if name == "wgan" else 1e-4)
    assert method.clip == (0.01 if name == "wgan" else None)
    assert method.dropout == (0.5 if name == "ct-gan" else 0)
    assert method.noise == (0.5 if name.endswith("noise") else 0)
    optimizer = method.optimizer([torch.nn.Parameter(torch.ones(1))], 3e-4)
    assert optimizer.defaults["lr"] == 3e-4
    if name == "wgan":
        assert isinstance(optimizer, torch.optim.RMSprop)
        assert optimizer.defaults["momentum"] == 0
    else:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["betas"] == (0, 0.9)


def test_instance_noise_fades_to_nothing():
    samples = torch.zeros(200_000, 2)
    for progress in (0.0, 0.5, 0.9):
        torch.manual_seed(0)
        noise = methods.with_instance_noise(samples, METHODS["gan-noise"], progress)
        assert noise.std().item() == pytest.approx(0.5 * (1 - progress), rel=0.01)
    assert methods.with_instance_noise(samples, METHODS["gan-noise"], 1.0) is samples


def test_without_instance_noise_no_random_number_is_drawn():
    samples = torch.zeros(3, 2)
    before = torch.get_rng_state()
    assert methods.with_instance_noise(samples, METHODS["gan"], 0.0) is samples
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_dropped_after_each_activation_and_before_no_score(shape):
    critic, real, _ = critic_real_fake(shape, dropout=0.5)
    layers = [type(layer) for layer in critic]
    activations = (torch.nn.ReLU, torch.nn.LeakyReLU)
    following = [b for a, b in pairwise(layers) if a in activations]
    assert following
    assert set(following) == {torch.nn.Dropout}
    assert layers.count(torch.nn.Dropout) == len(following)
    assert layers[-1] is torch.nn.Linear
    assert not torch.equal(critic(real), critic(real))


def test_dropout_changes_no_weights_and_no_drawn_number():
    networks = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        networks.append([*models.networks((1, 8, 8), 4, dropout), torch.rand(3)])
    for plain, dropped in zip(networks[0][:2], networks[1][:2], strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(plain.parameters(), dropped.parameters(), strict=True)
        )
    assert torch.equal(networks[0][2], networks[1][2])


def test_the_critic_learns_what_the_generator_must_lower():
    """One step of each by the losses: the signs are those of a game."""
    real, fake = torch.zeros(4, 1), torch.zeros(4, 1)
    for name, method in METHODS.items():
        scores = real.clone().requires_grad_(), fake.clone().requires_grad_()
        of_real, of_fake = torch.autograd.grad(method.critic_loss(*scores), scores)
        assert (of_real < 0).all(), name  # real scores rise
        assert (of_fake > 0).all(), name
        (of_fake,) = torch.autograd.grad(method.generator_loss(scores[1]), scores[1])
        assert (of_fake < 0).all(), name


def test_the_logits_of_the_standard_gan_are_not_squashed_twice():
    logits = torch.tensor([[math.log(3.0)]])
    expected = F.binary_cross_entropy_with_logits(logits, torch.ones(1, 1))
    expected += F.binary_cross_entropy_with_logits(-logits, torch.zeros(1, 1))
    assert METHODS["gan"].critic_loss(logits, -logits).item() == pytest.approx(expected.item())
