"""Every penalty and every step that a compiler may meet, each beside its textbook, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import wgan_fast
from tests.comparing import assert_close, assert_same_gradients
from tests.textbook import textbook_gradient_penalty
from tests.textbook_family import (
    cross_entropy,
    textbook_max_gradient,
    textbook_path_lengths,
    textbook_r1,
    textbook_wgan_div,
)
from tests.textbook_steps import textbook_critic_step

RTOL = 1e-10


class Batch(NamedTuple):
    """What a step is called with: ``[B, 6]``, ``[B, 6]`` and ``[B]``."""

    real: Tensor
    fake: Tensor
    epsilon: Tensor


def batch_of(seed: int, size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    real, fake = torch.randn(2, size, 6, generator=generator, dtype=torch.float64)
    return Batch(real, fake, torch.rand(size, generator=generator, dtype=torch.float64))


def make_critic() -> nn.Sequential:
    """With a piecewise linear function, behind which a graph is cut, a smooth one, and one whose
    layers are replaced; a last bias that only shifts the scores."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Unflatten(1, (4, 2, 2)), nn.Conv2d(4, 4, 2),
        nn.SiLU(), nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1),
    ).double()  # fmt: skip


#: Called with a critic, a batch and perhaps keywords: a loss.
Member = Callable[..., Tensor]


class Case(NamedTuple):
    ours: Member
    textbook: Member


def _images(generator: nn.Module, latents: Tensor) -> Tensor:
    return generator[:-3](latents).reshape(len(latents), 1, 2, 2)  # type: ignore[index]


def _path_length(generator: nn.Module, batch: Batch, **keywords: Any) -> Tensor:
    latents = batch.real.detach().requires_grad_()
    images = _images(generator, latents)
    noise = batch.fake[:, :4].reshape(images.shape)
    return wgan_fast.path_length_penalty(images, latents, target=1.0, noise=noise, **keywords)


def _path_length_textbook(generator: nn.Module, batch: Batch) -> Tensor:
    latents = batch.real.detach().requires_grad_()
    images = _images(generator, latents)
    noise = batch.fake[:, :4].reshape(images.shape)
    return 2.0 * ((textbook_path_lengths(images, latents, noise=noise) - 1.0) ** 2).mean()


def _of_scores(critic: Any, batch: Batch, **keywords: Any) -> Tensor:
    real = batch.real.detach().requires_grad_()
    scores = critic(real)
    loss = nn.functional.softplus(-scores).mean()
    return loss + wgan_fast.r1_penalty_of(scores, real, gamma=2.0, **keywords)


STEP: dict[str, Any] = {"loss": "gan", "gp": 10.0, "r1": 1.0, "r2": 2.0}

CASES = {
    "fast_gradient_penalty": Case(
        lambda critic, batch, **keywords: wgan_fast.fast_gradient_penalty(
            critic, batch.real, batch.fake, epsilon=batch.epsilon, **keywords
        ),
        lambda critic, batch: textbook_gradient_penalty(
            critic, batch.real, batch.fake, epsilon=batch.epsilon
        ),
    ),
    "wgan_div_penalty": Case(
        lambda critic, batch, **keywords: wgan_fast.wgan_div_penalty(
            critic, batch.real, batch.fake, epsilon=batch.epsilon, **keywords
        ),
        lambda critic, batch: textbook_wgan_div(critic, batch[0], batch[1], epsilon=batch[2]),
    ),
    "max_gradient_penalty": Case(
        lambda critic, batch, **keywords: wgan_fast.max_gradient_penalty(
            critic, batch.real, batch.fake, epsilon=batch.epsilon, **keywords
        ),
        lambda critic, batch: textbook_max_gradient(critic, batch[0], batch[1], epsilon=batch[2]),
    ),
    "r1_penalty": Case(
        lambda critic, batch, **keywords: wgan_fast.r1_penalty(critic, batch.real, **keywords),
        lambda critic, batch: textbook_r1(critic, batch.real),
    ),
    "Lazy": Case(
        lambda critic, batch, **keywords: wgan_fast.Lazy(2)(
            wgan_fast.r1_penalty, critic, batch.real, **keywords
        ),
        lambda critic, batch: 2 * textbook_r1(critic, batch.real),
    ),
    "r1_penalty_of": Case(
        _of_scores,
        lambda critic, batch: cross_entropy(critic(batch.real), True)
        + textbook_r1(critic, batch.real, gamma=2.0),
    ),
    "critic_loss": Case(
        lambda critic, batch, **keywords: wgan_fast.critic_loss(
            critic, batch.real, batch.fake, epsilon=batch.epsilon, **STEP, **keywords
        ),
        lambda critic, batch: textbook_critic_step(
            critic, batch.real, batch.fake, epsilon=batch.epsilon, **STEP
        )[0],
    ),
    "path_length_penalty": Case(_path_length, _path_length_textbook),
}  # fmt: skip


def gradients_of(loss: Tensor, module: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True))


def with_gradients(case: Member, module: nn.Module, **keywords: Any) -> Callable[..., Any]:
    """A function of the batch's tensors: the loss, and its gradients by all parameters."""

    def step(real: Tensor, fake: Tensor, epsilon: Tensor) -> tuple[Tensor, ...]:
        loss = case(module, Batch(real, fake, epsilon), **keywords)
        found = zip(gradients_of(loss, module), module.parameters(), strict=True)
        return loss.detach(), *(torch.zeros_like(p) if g is None else g for g, p in found)

    return step


def expected(name: str, module: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    return with_gradients(CASES[name].textbook, module)(*batch)


def assert_same(ours: Any, theirs: Any) -> None:
    """Loss and gradients, in this order."""
    assert_close(ours[0], theirs[0], RTOL)
    assert_same_gradients(list(ours[1:]), list(theirs[1:]), RTOL)
