"""The losses, and weight clipping."""

import inspect
import re

import pytest
import torch
from torch import nn

from tests.comparing import assert_close
from tests.textbook_family import cross_entropy, hinge
from wgan_fast import (
    clip_weights_,
    gan_critic_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_critic_loss,
    relativistic_generator_loss,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)

#: Each loss, and what it is by the book.
BY_THE_BOOK = {
    wasserstein_critic_loss: lambda real, fake: sum(fake) / len(fake) - sum(real) / len(real),
    wasserstein_generator_loss: lambda fake: -sum(fake) / len(fake),
    gan_critic_loss: lambda real, fake: cross_entropy(real, 1) + cross_entropy(fake, 0),
    minimax_generator_loss: lambda fake: -cross_entropy(fake, 0),
    non_saturating_generator_loss: lambda fake: cross_entropy(fake, 1),
    hinge_critic_loss: lambda real, fake: hinge(real, 1) + hinge(fake, -1),
    hinge_generator_loss: lambda fake: -sum(fake) / len(fake),
    relativistic_critic_loss: lambda real, fake: cross_entropy(real - fake, 1),
    relativistic_generator_loss: lambda real, fake: cross_entropy(fake - real, 1),
}
PAIRED = [relativistic_critic_loss, relativistic_generator_loss]
every_loss = pytest.mark.parametrize("loss", BY_THE_BOOK, ids=lambda loss: loss.__name__)


def scores_for(loss, *values):
    """One row of scores for each argument of the loss, from real scores first to fake ones."""
    return values[-len(inspect.signature(loss).parameters) :]


@every_loss
def test_losses_are_the_textbook_s(loss):
    scores = [
        3 * torch.randn(n, dtype=torch.float64, requires_grad=True)
        for n in scores_for(loss, 9 if loss in PAIRED else 6, 9)
    ]  # fmt: skip
    ours, theirs = loss(*scores), BY_THE_BOOK[loss](*scores)
    assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours, scores), torch.autograd.grad(theirs, scores), strict=True
    ):
        assert_close(a, b)


@every_loss
def test_losses_take_scores_of_any_shape(loss):
    flat = [torch.randn(12) for _ in scores_for(loss, 0, 1)]
    assert_close(loss(*(x.reshape(3, 1, 2, 2) for x in flat)), loss(*flat), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_losses_are_finite_for_any_score(loss, size):
    scores = [torch.tensor([size, -size, 1.0], requires_grad=True) for _ in scores_for(loss, 0, 1)]
    value = loss(*scores)
    value.backward()
    assert value.isfinite()
    assert all(x.grad.isfinite().all() for x in scores)


def test_generator_losses_differ_in_slope_where_the_critic_is_sure():
    """Both have their minimum at high scores; only the non-saturating one gets there."""
    sure = torch.tensor(-20.0, requires_grad=True)
    (flat,) = torch.autograd.grad(minimax_generator_loss(sure), sure)
    (steep,) = torch.autograd.grad(non_saturating_generator_loss(sure), sure)
    assert -1e-8 < flat < 0
    assert steep == pytest.approx(-1)


def test_hinge_asks_for_no_more_than_its_margin():
    real, fake = torch.tensor([1.0, 0.99, 7.0]), torch.tensor([-1.0, -0.99, -7.0])
    gradients = torch.func.grad(hinge_critic_loss, argnums=(0, 1))(real, fake)
    assert_close(gradients[0], torch.tensor([0, -1 / 3, 0]))
    assert_close(gradients[1], torch.tensor([0, 1 / 3, 0]))


@pytest.mark.parametrize("loss", PAIRED)
def test_relativistic_losses_see_differences_alone(loss):
    real, fake = torch.randn(2, 9, dtype=torch.float64)
    assert_close(loss(real + 2, fake + 2), loss(real, fake))
    assert loss(real.flip(0), fake) != loss(real, fake)
    assert_close(relativistic_critic_loss(real, fake), relativistic_generator_loss(fake, real))


@pytest.mark.parametrize("loss", PAIRED)
@pytest.mark.parametrize(("real", "fake"), [((6,), (9,)), ((6,), (6, 1)), ((6, 1), (6,))])
def test_relativistic_losses_refuse_what_are_no_pairs(loss, real, fake):
    """Broadcasting would compare every real sample with every fake one."""
    message = f"must have the shape of real_scores, {list(real)}, but it is {list(fake)}: each"
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(torch.ones(real), torch.ones(fake))


@every_loss
def test_losses_say_what_is_wrong_with_scores(loss):
    good = torch.ones(2)
    for bad, error, message in [
        (1.0, TypeError, "must be a tensor, but it is 1.0"),
        (torch.ones(2, dtype=torch.int64), TypeError, "must be floating, but they are torch.int64"),
        (torch.ones(0, 1), ValueError, r"must not be empty, but their shape is \[0, 1\]"),
    ]:
        for position, name in enumerate(scores_for(loss, "real_scores", "fake_scores")):
            scores = list(scores_for(loss, good, good))
            scores[position] = bad
            with pytest.raises(error, match=f"{name} {message}"):
                loss(*scores)


def test_clip_weights_clips_all_and_only_what_is_outside():
    critic = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    critic[1].running_mean.fill_(7.0)
    before = [p.detach().clone() for p in critic.parameters()]
    assert clip_weights_(critic, 0.25) is None
    for parameter, was in zip(critic.parameters(), before, strict=True):
        assert torch.equal(parameter, torch.clamp(was, -0.25, 0.25))
        assert parameter.requires_grad
    assert any((was.abs() < 0.25).any() and (was.abs() > 0.25).any() for was in before)
    assert critic[1].running_mean.eq(7).all()  # a buffer is no weight


def test_clip_weights_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"critic must be a torch.nn.Module, but it is \[\]"):
        clip_weights_([], 0.1)
    with pytest.raises(ValueError, match="c must be above 0, but it is 0"):
        clip_weights_(nn.Linear(1, 1), 0)
    with pytest.raises(ValueError, match=r"c must be a finite number >= 0, but it is -1"):
        clip_weights_(nn.Linear(1, 1), -1)
