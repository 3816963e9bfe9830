"""The ways to train a GAN: one entry for each, which reads like its paper.

A critic step minimises ``critic_loss(D(real), D(fake)) + penalty(D, real, fake, weight)``, and
clips the weights after it where the method says so; a generator step minimises
``generator_loss(D(fake))``. Formulas and sources: docs/variants.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import (
    approximate_r1,
    consistency_term,
    dragan_penalty,
    fast_gradient_penalty,
    gan_critic_loss,
    max_gradient_penalty,
    minimax_generator_loss,
    non_saturating_generator_loss,
    r1_penalty,
    r2_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
    wgan_div_penalty,
)

#: ``(critic, real, fake, weight)`` to a scalar.
Penalty = Callable[[Any, Tensor, Tensor, float], Tensor]


def no_penalty(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return real.new_zeros(())


@dataclass(frozen=True)
class Method:
    """A way to train a GAN.

    Args:
        title: its name in a picture.
        critic_loss: of the scores of real and of generated samples; to be minimised.
        generator_loss: of the scores of generated samples; to be minimised.
        penalty: added to the critic's loss.
        weight: the penalty's weight in its paper.
        clip: the bound of the critic's weights, where they are clipped.
        noise: the deviation of the instance noise that training begins with; it fades to 0.
        dropout: the share of the critic's features that are dropped in training.
        n_critic: critic steps for each generator step.
        learning_rate: of RMSprop where weights are clipped, of Adam with betas 0 and 0.9 elsewhere.
    """

    title: str
    critic_loss: Callable[[Tensor, Tensor], Tensor] = wasserstein_critic_loss
    generator_loss: Callable[[Tensor], Tensor] = wasserstein_generator_loss
    penalty: Penalty = no_penalty
    weight: float = 0.0
    clip: float | None = None
    noise: float = 0.0
    dropout: float = 0.0
    n_critic: int = 5
    learning_rate: float = 1e-4

    def optimizer(
        self, parameters: Iterable[nn.Parameter], learning_rate: float
    ) -> torch.optim.Optimizer:
        if self.clip is not None:  # the paper: Adam's momentum makes training unstable
            return torch.optim.RMSprop(parameters, lr=learning_rate)
        return torch.optim.Adam(parameters, lr=learning_rate, betas=(0.0, 0.9))


def gan(title: str, **differences: Any) -> Method:
    """A standard GAN, with the generator's loss that it is trained with in practice."""
    losses = {"critic_loss": gan_critic_loss, "generator_loss": non_saturating_generator_loss}
    return Method(title, **(losses | {"n_critic": 1} | differences))


def wgan_gp(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return fast_gradient_penalty(critic, real, fake, lambda_gp=weight)


def wgan_lp(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return fast_gradient_penalty(critic, real, fake, lambda_gp=weight, one_sided=True)


def zero_centred(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return fast_gradient_penalty(critic, real, fake, lambda_gp=weight, target=0.0)


def wgan_div(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return wgan_div_penalty(critic, real, fake, k=weight)


def max_gp(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return max_gradient_penalty(critic, real, fake, lambda_gp=weight)


def ct_gan(critic: nn.Sequential, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    def scores_and_features(samples: Tensor) -> tuple[Tensor, Tensor]:
        features = critic[:-1](samples)
        return critic[-1](features), features

    return wgan_gp(critic, real, fake, weight) + consistency_term(scores_and_features, real)


def r1(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return r1_penalty(critic, real, gamma=weight)


def r2(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return r2_penalty(critic, fake, gamma=weight)


def r1_approximately(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return approximate_r1(critic, real, lambda_r1=weight)


def dragan(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return dragan_penalty(critic, real, lambda_gp=weight)


METHODS: dict[str, Method] = {
    "wgan-gp": Method("WGAN-GP", penalty=wgan_gp, weight=10.0),
    "wgan-lp": Method("WGAN-LP", penalty=wgan_lp, weight=10.0),
    "wgan": Method("clipped WGAN", clip=0.01, learning_rate=5e-5),
    "wgan-div": Method("WGAN-div", penalty=wgan_div, weight=2.0),
    "max-gp": Method("MaxGP", penalty=max_gp, weight=10.0),
    "ct-gan": Method("CT-GAN", penalty=ct_gan, weight=10.0, dropout=0.5),
    "gan": gan("GAN"),
    "gan-minimax": gan("minimax GAN", generator_loss=minimax_generator_loss),
    "gan-noise": gan("GAN + noise", noise=0.5),
    "gan-minimax-noise": gan(
        "minimax GAN + noise", generator_loss=minimax_generator_loss, noise=0.5
    ),
    "r1": gan("GAN + R1", penalty=r1, weight=10.0),
    "r2": gan("GAN + R2", penalty=r2, weight=10.0),
    "approximate-r1": gan("GAN + approximate R1", penalty=r1_approximately, weight=100.0),
    "0-gp": gan("GAN + 0-GP", penalty=zero_centred, weight=10.0),
    "dragan": gan("DRAGAN", penalty=dragan, weight=10.0),
}


def with_instance_noise(samples: Tensor, method: Method, progress: float) -> Tensor:
    """The samples as the critic sees them, after ``progress`` in [0, 1] of the training.

    Source: Sønderby et al., "Amortised MAP Inference for Image Super-resolution", arXiv 1610.04490.
    """
    deviation = method.noise * (1 - progress)
    return samples + deviation * torch.randn_like(samples) if deviation else samples
