"""The ways to train a GAN: one entry for each, which reads like its paper.

A critic step minimises the loss of the scores and the penalties beside it, and clips the weights
after it where the method says so; a generator step minimises the generator's side of the loss.
Formulas and sources: docs/variants.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wgan_fast import (
    Penalty,
    approximate_r1,
    captured,
    clip_weights_,
    consistency_term,
    critic_loss,
    dragan_penalty,
    fast_gradient_penalty,
    frozen,
    hinge_generator_loss,
    max_gradient_penalty,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_generator_loss,
    wasserstein_generator_loss,
)

#: From a weight, what ``critic_loss`` takes as its gp, r1 or r2.
SharedPenalty = Callable[[float], Penalty]
#: ``(critic, real, fake, weight)`` to a scalar: what ``critic_loss`` does not take.
OtherPenalty = Callable[[Any, Tensor, Tensor, float], Tensor]


class Loss(NamedTuple):
    """A loss of the scores, for both networks."""

    critic: str  # as critic_loss calls it
    generator: Callable[..., Tensor]
    pairs: bool = False  # whether the generator's loss takes the scores of real samples, too


LOSSES: dict[str, Loss] = {
    "wasserstein": Loss("wasserstein", wasserstein_generator_loss),
    "gan": Loss("gan", non_saturating_generator_loss),
    "minimax": Loss("gan", minimax_generator_loss),
    "hinge": Loss("hinge", hinge_generator_loss),
    "relativistic": Loss("relativistic", relativistic_generator_loss, pairs=True),
}


class CriticStep(NamedTuple):
    """What a step of the critic minimised; all but the loss detached."""

    loss: Tensor
    penalty: Tensor  # the part of the loss that is no loss of the scores, 0 where there is none
    real_scores: Tensor
    fake_scores: Tensor


@dataclass(frozen=True)
class Method:
    """A way to train a GAN.

    Args:
        title: its name in a picture.
        loss: its loss of the scores, one of LOSSES.
        fixed_loss: whether it would be another method with another loss.
        gp: its penalty at interpolates.
        r1: its penalty at real samples.
        r2: its penalty at generated samples.
        other_penalty: its penalty where that is none of these three.
        weight: the penalties' weight in its paper.
        clip: the bound of the critic's weights, where they are clipped.
        noise: the deviation of the instance noise that training begins with; it fades to 0.
        dropout: the share of the critic's features that are dropped in training.
        normalised: whether the generator of images normalises its features.
        n_critic: critic steps for each generator step.
        learning_rate: of RMSprop where weights are clipped, of Adam elsewhere.
        betas: of Adam.
    """

    title: str
    loss: str = "wasserstein"
    fixed_loss: bool = False
    gp: SharedPenalty | None = None
    r1: SharedPenalty | None = None
    r2: SharedPenalty | None = None
    other_penalty: OtherPenalty | None = None
    weight: float = 0.0
    clip: float | None = None
    noise: float = 0.0
    dropout: float = 0.0
    normalised: bool = True
    n_critic: int = 5
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)

    def optimizer(
        self, parameters: Iterable[nn.Parameter], learning_rate: float
    ) -> torch.optim.Optimizer:
        if self.clip is not None:  # the paper: Adam's momentum makes training unstable
            return torch.optim.RMSprop(parameters, lr=learning_rate)
        return torch.optim.Adam(parameters, lr=learning_rate, betas=self.betas)

    def critic_loss(
        self,
        critic: nn.Module,
        real: Tensor,
        fake: Tensor,
        weight: float,
        first_sample: int | None = None,
    ) -> CriticStep:
        """What the critic minimises, with this weight of the penalties.

        ``first_sample`` is the number of the first one in the batch of all processes.
        """
        gp, r1, r2 = (make and make(weight) for make in (self.gp, self.r1, self.r2))
        loss, parts = critic_loss(
            critic,
            real,
            fake,
            loss=LOSSES[self.loss].critic,
            gp=gp,
            r1=r1,
            r2=r2,
            first_sample=first_sample,
            return_parts=True,
        )
        penalties = [part for part in (parts.gp, parts.r1, parts.r2) if part is not None]
        if self.other_penalty is not None:
            other = self.other_penalty(critic, real, fake, weight)
            loss = loss + other
            penalties.append(other.detach())
        penalty = sum(penalties, torch.zeros_like(parts.adversarial))
        return CriticStep(loss, penalty, parts.real_scores, parts.fake_scores)

    def generator_loss(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """What the generator minimises that made ``fake``; the critic is not trained by it."""
        loss = LOSSES[self.loss]
        with frozen(critic):
            fake_scores = critic(fake)
        if not loss.pairs:
            return loss.generator(fake_scores)
        with torch.no_grad():
            real_scores = critic(real)
        return loss.generator(real_scores, fake_scores)

    def with_loss(self, loss: str) -> Method:
        """The same with another loss.

        Raises:
            ValueError: if it does not fit; the message says why and what to do.
        """
        if loss == self.loss:
            return self
        if self.fixed_loss:
            raise ValueError(f"its own, {self.loss}, is what defines it; take another method")
        if loss == "wasserstein" and not self.weight and self.clip is None:
            raise ValueError(
                "nothing bounds its critic, whose loss would fall without end; take a method with a"
                " penalty or with clipped weights"
            )
        return replace(self, loss=loss, title=f"{self.title}, {loss} loss")

    def with_captured_losses(self, executor: str) -> Method:
        """The same, each of whose losses is one graph with its gradients (docs/captured.md)."""

        class Captured(Method):
            critic_loss = captured(Method.critic_loss, executor=executor)
            generator_loss = captured(Method.generator_loss, executor=executor)

        return Captured(**vars(self))


def critic_step(
    critic: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    real: Tensor,
    fake: Tensor,
    max_norm: float | None = None,
    *,
    weight: float | None = None,
    first_sample: int | None = None,
) -> CriticStep:
    """One step of the critic: its loss, the gradient, the optimiser, the clipping.

    Args:
        max_norm: clips the gradient of the critic's weights, as one vector.
        weight: of the penalties, by default the method's own.
        first_sample: the number of the first one in the batch of all processes.
    """
    weight = method.weight if weight is None else weight
    step = method.critic_loss(critic, real, fake, weight, first_sample)
    optimizer.zero_grad()
    step.loss.backward()
    if max_norm is not None:
        nn.utils.clip_grad_norm_(critic.parameters(), max_norm)
    optimizer.step()
    if method.clip is not None:
        clip_weights_(critic, method.clip)
    return step._replace(loss=step.loss.detach())


def max_gp(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return max_gradient_penalty(critic, real, fake, lambda_gp=weight)


def ct_gan(critic: nn.Sequential, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    def scores_and_features(samples: Tensor) -> tuple[Tensor, Tensor]:
        features = critic[:-1](samples)
        return critic[-1](features), features

    penalty = fast_gradient_penalty(critic, real, fake, lambda_gp=weight)
    return penalty + consistency_term(scores_and_features, real)


def r1_approximately(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return approximate_r1(critic, real, lambda_r1=weight)


def dragan(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
    return dragan_penalty(critic, real, lambda_gp=weight)


one_sided = partial(Penalty, one_sided=True)
zero_centred = partial(Penalty, target=0.0)
sixth_power = partial(Penalty, target=0.0, power=6.0)

#: A standard GAN, with the generator's loss that it is trained with in practice.
gan = partial(Method, loss="gan", n_critic=1)
minimax_gan = partial(Method, loss="minimax", fixed_loss=True, n_critic=1)

METHODS: dict[str, Method] = {
    "wgan-gp": Method("WGAN-GP", gp=Penalty, weight=10.0),
    "wgan-lp": Method("WGAN-LP", gp=one_sided, weight=10.0),
    "wgan": Method("clipped WGAN", clip=0.01, learning_rate=5e-5),
    # The loss with this penalty is the divergence that it is named after.
    "wgan-div": Method("WGAN-div", gp=sixth_power, weight=2.0, fixed_loss=True),
    "max-gp": Method("MaxGP", other_penalty=max_gp, weight=10.0),
    "ct-gan": Method("CT-GAN", other_penalty=ct_gan, weight=10.0, dropout=0.5),
    "gan": gan("GAN"),
    "gan-minimax": minimax_gan("minimax GAN"),
    "gan-noise": gan("GAN + noise", noise=0.5),
    "gan-minimax-noise": minimax_gan("minimax GAN + noise", noise=0.5),
    "r1": gan("GAN + R1", r1=Penalty, weight=10.0),
    "r2": gan("GAN + R2", r2=Penalty, weight=10.0),
    "approximate-r1": gan("GAN + approximate R1", other_penalty=r1_approximately, weight=100.0),
    "0-gp": gan("GAN + 0-GP", gp=zero_centred, weight=10.0),
    "dragan": gan("DRAGAN", other_penalty=dragan, weight=10.0),
    # The losses and the optimiser of R3GAN with small networks; its own are residual. Weight and
    # learning rate are those that its authors begin with on CIFAR-10, beta2 that they end with.
    "r3gan": Method(
        "R3GAN recipe",
        loss="relativistic",
        r1=Penalty,
        r2=Penalty,
        weight=0.05,
        normalised=False,
        n_critic=1,
        learning_rate=2e-4,
        betas=(0.0, 0.99),
    ),
}


def with_instance_noise(samples: Tensor, method: Method, progress: float) -> Tensor:
    """The samples as the critic sees them, after ``progress`` in [0, 1] of the training.

    Source: Sønderby et al., "Amortised MAP Inference for Image Super-resolution", arXiv 1610.04490.
    """
    deviation = method.noise * (1 - progress)
    return samples + deviation * torch.randn_like(samples) if deviation else samples
