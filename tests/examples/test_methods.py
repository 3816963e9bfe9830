"""Each method minimises what its paper says, in float64, and trains on images and on points."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from gan import methods, models
from gan.methods import LOSSES, METHODS

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


def r1_and_r2(critic, real, fake, weight):
    return r1(critic, real, fake, weight) + r2(critic, real, fake, weight)


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
    "r3gan": (r1_and_r2, 0.05),
}
WITHOUT_PENALTY = ("wgan", "gan", "gan-minimax", "gan-noise", "gan-minimax-noise")
WASSERSTEIN = ("wgan-gp", "wgan-lp", "wgan", "wgan-div", "max-gp", "ct-gan")


def test_every_method_is_here():
    assert sorted([*PENALTIES, *WITHOUT_PENALTY]) == sorted(METHODS)


def loss_of(name):
    """The loss that the method of this name has in its paper."""
    if name in WASSERSTEIN:
        return "wasserstein"
    if name == "r3gan":
        return "relativistic"
    return "minimax" if "minimax" in name else "gan"


def wasserstein_losses(real, fake):
    return fake.mean() - real.mean(), -fake.mean()


def gan_losses(real, fake):  # Goodfellow et al., arXiv 1406.2661, in probabilities
    critic = -(torch.log(torch.sigmoid(real)).mean() + torch.log(seen_through(fake)).mean())
    return critic, -torch.log(torch.sigmoid(fake)).mean()


def minimax_losses(real, fake):
    return gan_losses(real, fake)[0], torch.log(seen_through(fake)).mean()


def seen_through(fake):
    """1 - σ(D), without the difference, which would lose digits where σ is close to 1."""
    return torch.sigmoid(-fake)


def hinge_losses(real, fake):
    return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), -fake.mean()


def relativistic_losses(real, fake):  # Huang et al., arXiv 2501.05441, equation 2
    return torch.log(1 + torch.exp(fake - real)).mean(), torch.log(
        1 + torch.exp(real - fake)
    ).mean()


# Of the scores of real and of generated samples: what the critic minimises, and the generator.
TEXTBOOK_LOSSES = {
    "wasserstein": wasserstein_losses,
    "gan": gan_losses,
    "minimax": minimax_losses,
    "hinge": hinge_losses,
    "relativistic": relativistic_losses,
}


@pytest.mark.parametrize("name", METHODS)
def test_the_critic_s_loss_and_its_gradient_are_those_of_the_paper(name, shape):
    method = METHODS[name]
    assert method.loss == loss_of(name)
    assert_critic_loss(name, method, shape)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["wgan-gp", "r1", "r3gan", "dragan"])
def test_another_loss_leaves_the_penalty_as_it_is(name, loss, shape):
    method = METHODS[name].with_loss(loss)
    assert method.loss == loss
    assert_critic_loss(name, method, shape)


def assert_critic_loss(name, method, shape):
    paper, weight = PENALTIES.get(name, (None, 0.0))
    assert method.weight == weight
    critic, real, fake = critic_real_fake(shape, method.dropout)
    torch.manual_seed(1)  # the same interpolates, noise and dropped features
    step = method.critic_loss(critic, real, fake, 0.7 * weight)
    torch.manual_seed(1)
    scores = critic(real), critic(fake)
    loss, _ = TEXTBOOK_LOSSES[method.loss](*scores)
    penalty = paper(critic, real, fake, 0.7 * weight) if paper else torch.zeros_like(loss)
    assert (penalty > 1e-6) == (paper is not None), "nothing to compare"
    close = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(step.penalty, penalty.detach(), **close)
    torch.testing.assert_close(step[2:], tuple(s.detach() for s in scores), **close)
    results = []
    for value in (step.loss, loss + penalty):
        gradients = torch.autograd.grad(value, list(critic.parameters()), materialize_grads=True)
        results.append([value.detach(), *gradients])
    torch.testing.assert_close(*results, **close)


@pytest.mark.parametrize("name", METHODS)
def test_the_generator_s_loss_and_its_gradient_are_those_of_the_paper(name, shape):
    method = METHODS[name]
    critic, real, fake = critic_real_fake(shape)
    results = []
    for loss_of_samples in (
        method.generator_loss,
        lambda critic, *xs: TEXTBOOK_LOSSES[loss_of(name)](*map(critic, xs))[1],
    ):
        samples = fake.clone().requires_grad_()
        value = loss_of_samples(critic, real, samples)
        results.append([value.detach(), *torch.autograd.grad(value, samples)])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_the_generator_s_loss_does_not_train_the_critic(name):
    critic, real, fake = critic_real_fake((2,))
    METHODS[name].generator_loss(critic, real, fake.requires_grad_()).backward()
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(parameter.requires_grad for parameter in critic.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_does_not_fit_is_refused(name):
    method = METHODS[name]
    for loss in LOSSES:
        defining = "minimax" in name or name == "wgan-div"
        unbounded = name in ("gan", "gan-noise") and loss == "wasserstein"
        if loss == method.loss:
            assert method.with_loss(loss) is method
        elif defining or unbounded:
            with pytest.raises(
                ValueError, match="what defines it" if defining else "fall without end"
            ):
                method.with_loss(loss)
        else:
            assert method.with_loss(loss).title == f"{method.title}, {loss} loss"


def test_a_step_of_the_critic_takes_the_weight_that_it_is_given():
    steps = []
    for options in ({}, {"weight": 10.0}, {"weight": 3.0}, {"weight": 0.0}):
        critic, real, fake = critic_real_fake((2,))
        optimizer = torch.optim.SGD(critic.parameters(), 0.1)
        steps.append(methods.critic_step(critic, optimizer, METHODS["r1"], real, fake, **options))
    by_default, same, less, none = (step.penalty.item() for step in steps)
    assert by_default == same
    assert less == pytest.approx(0.3 * same)
    assert none == 0
    assert not any(value.requires_grad for step in steps for value in step)


@pytest.mark.parametrize("name", NAMES)
def test_what_else_the_papers_set(name):
    method = METHODS[name]
    assert method.n_critic == (5 if name in WASSERSTEIN else 1)
    assert method.learning_rate == {"wgan": 5e-5, "r3gan": 2e-4}.get(name, 1e-4)
    assert method.normalised == (name != "r3gan")
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
        assert optimizer.defaults["betas"] == (0, 0.99 if name == "r3gan" else 0.9)


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
    for name in LOSSES:
        method = methods.Method(name, loss=name)
        critic, real, fake = torch.nn.Linear(1, 1), torch.ones(4, 1), -torch.ones(4, 1)
        torch.nn.init.zeros_(critic.weight)
        method.critic_loss(critic, real, fake, 0.0).loss.backward()
        assert critic.weight.grad.item() < 0, name  # real scores rise above generated ones
        method.generator_loss(torch.nn.Identity(), real, fake.requires_grad_()).backward()
        assert (fake.grad < 0).all(), name


def test_the_logits_of_the_standard_gan_are_not_squashed_twice():
    logits = torch.tensor([[math.log(3.0)]])
    expected = F.binary_cross_entropy_with_logits(logits, torch.ones(1, 1))
    expected += F.binary_cross_entropy_with_logits(-logits, torch.zeros(1, 1))
    step = METHODS["gan"].critic_loss(torch.nn.Identity(), logits, -logits, 0.0)
    assert step.loss.item() == pytest.approx(expected.item())


def test_without_normalisation_the_features_keep_their_size():
    torch.manual_seed(0)
    generator = models.plain_image_generator(32, 3, 64)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in generator)
    features, sizes = torch.randn(64, models.LATENT), []
    for layer in generator[:-2]:
        features = layer(features)
        if isinstance(layer, torch.nn.LeakyReLU):
            sizes.append(features.square().mean().sqrt().item())
    # By the first weights, the mean square before an activation is twice, over 1.04, that of what
    # goes in, and an activation halves it, times 1.04. At the borders, zeros are padded.
    assert len(sizes) == 3
    assert all(0.7 < size < 1.2 for size in sizes)
