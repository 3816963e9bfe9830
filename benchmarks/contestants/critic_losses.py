"""The whole loss of a critic's step, the penalties in it, written in every way that is raced."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wgan_fast import (
    critic_loss,
    fast_gradient_penalty,
    gan_critic_loss,
    r1_penalty,
    r2_penalty,
    relativistic_critic_loss,
    wasserstein_critic_loss,
)

from ..problems.problem import GAMMA, LAMBDA
from .penalties import Penalty
from .textbook import gradient_penalty

#: The same as of a penalty: ``loss(critic, real, fake, epsilon, args)``.
Loss = Penalty

#: The usual code, which shares the forward pass and has one backward pass.
USUAL = "usual"
#: A loss of the scores, and beside it calls of the library's penalties, which call the critic, too.
SEPARATE = "wgan_fast, separate calls"


def _scored(critic: Any, samples: Tensor, args: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Scores and the zero-centred penalty of one call, as the repositories of R1 and R3GAN do."""
    samples = samples.detach().requires_grad_(True)
    scores = critic(samples, *args)
    (gradients,) = torch.autograd.grad(outputs=scores.sum(), inputs=samples, create_graph=True)
    squares = gradients.square().reshape(gradients.size(0), -1).sum(1)
    return scores, GAMMA / 2 * squares.mean()


def _usual_r1(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    real_scores, penalty = _scored(critic, real, args)
    fake_scores = critic(fake, *args)
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean() + penalty


def _usual_r1_r2(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    real_scores, r1 = _scored(critic, real, args)
    fake_scores, r2 = _scored(critic, fake, args)
    return F.softplus(fake_scores - real_scores).mean() + r1 + r2


def _usual_wgan_gp(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    scores = critic(fake, *args).mean() - critic(real, *args).mean()
    return scores + gradient_penalty(critic, real, fake, epsilon, args)


def _separate_r1(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    loss = gan_critic_loss(critic(real, *args), critic(fake, *args))
    return loss + r1_penalty(critic, real, gamma=GAMMA, critic_args=args, backend="native")


def _separate_r1_r2(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    loss = relativistic_critic_loss(critic(real, *args), critic(fake, *args))
    r1 = r1_penalty(critic, real, gamma=GAMMA, critic_args=args, backend="native")
    r2 = r2_penalty(critic, fake, gamma=GAMMA, critic_args=args, backend="native")
    return loss + r1 + r2


def _separate_wgan_gp(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
    loss = wasserstein_critic_loss(critic(real, *args), critic(fake, *args))
    return loss + fast_gradient_penalty(
        critic,
        real,
        fake,
        lambda_gp=LAMBDA,
        epsilon=epsilon,
        critic_args=args,
        backend="native",
    )


def _whole(**settings: Any) -> Loss:
    """``critic_loss`` with these settings."""

    def loss(critic: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
        mixing = {"epsilon": epsilon} if "gp" in settings else {}  # taken with gp only
        return critic_loss(
            critic, real, fake, critic_args=args, backend="native", **mixing, **settings
        )

    return loss


#: By contestant, then by what the step is: R1 beside the standard GAN's loss, R1 and R2 beside the
#: relativistic one, or WGAN-GP.
CRITIC_LOSSES: dict[str, dict[str, Loss]] = {
    USUAL: {"R1": _usual_r1, "R1+R2": _usual_r1_r2, "WGAN-GP": _usual_wgan_gp},
    SEPARATE: {"R1": _separate_r1, "R1+R2": _separate_r1_r2, "WGAN-GP": _separate_wgan_gp},
    "wgan_fast": {
        "R1": _whole(loss="gan", r1=GAMMA),
        "R1+R2": _whole(loss="relativistic", r1=GAMMA, r2=GAMMA),
        "WGAN-GP": _whole(loss="wasserstein", gp=LAMBDA),
    },
}
