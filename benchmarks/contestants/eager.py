"""Plain PyTorch: the penalty or a whole loss with its backward pass, the critic's step with its
optimiser, the training iteration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import frozen

from ..problems.problem import Problem
from . import Build, Step
from .penalties import PENALTIES, Penalty, require

N_CRITIC = 5
NOISE = 128

#: ``gradients(epsilon)`` leaves the critic's gradients in its parameters and returns the loss.
Gradients = Callable[["Tensor | None"], Tensor]


def penalty(problem: Problem, name: str, how: Penalty | None = None) -> Build:
    """The penalty alone, forward and backward."""
    return loss(problem, name, how or PENALTIES[name])


def loss(problem: Problem, name: str, how: Penalty) -> Build:
    """A penalty or a whole loss of the critic, forward and backward."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        require(name, problem.device)
        here = problem.at_most(batch)
        critic, (real, fake), args = here.critic(dtype), here.samples(dtype), here.arguments()
        parameters = list(critic.parameters())

        def step(epsilon: Tensor | None = None) -> list[Tensor | None]:
            for parameter in parameters:
                parameter.grad = None
            value = how(critic, real, fake, epsilon, args)
            value.backward()
            return [value.detach(), *[parameter.grad for parameter in parameters]]

        return step

    return build


def adam(module: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.0, 0.9))


#: Makes the function that computes the critic's gradients from critic, real, fake, args.
MakeGradients = Callable[[nn.Module, Tensor, Tensor, "tuple[Any, ...]"], Gradients]


def critic_loss(name: str) -> Penalty:
    """The critic's loss, with a penalty beside its scores."""

    def loss(
        critic: nn.Module, real: Tensor, fake: Tensor, epsilon: Tensor | None, args: tuple[Any, ...]
    ) -> Tensor:
        scores = critic(fake, *args).mean() - critic(real, *args).mean()
        return scores + PENALTIES[name](critic, real, fake, epsilon, args)

    return loss


def eager_gradients(name: str) -> MakeGradients:
    return gradients_of(critic_loss(name))


def gradients_of(how: Penalty) -> MakeGradients:
    """By ``backward()`` of a loss."""

    def make(critic: nn.Module, real: Tensor, fake: Tensor, args: tuple[Any, ...]) -> Gradients:
        def gradients(epsilon: Tensor | None) -> Tensor:
            loss = how(critic, real, fake, epsilon, args)
            loss.backward()
            return loss.detach()

        return gradients

    return make


def critic_step(problem: Problem, name: str, make: MakeGradients) -> Build:
    """The critic's step: D(real), D(fake), penalty, backward pass, Adam."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        require(name, problem.device)
        here = problem.at_most(batch)
        critic, (real, fake), args = here.critic(dtype), here.samples(dtype), here.arguments()
        gradients, optimizer = make(critic, real, fake, args), adam(critic)

        def step(epsilon: Tensor | None = None) -> list[Tensor | None]:
            optimizer.zero_grad()
            loss = gradients(epsilon)
            optimizer.step()
            return [loss, *[parameter.grad for parameter in critic.parameters()]]

        return step

    return build


def iteration(
    problem: Problem,
    make_generator: Callable[[], nn.Module],
    name: str,
    make: MakeGradients,
    *,
    freeze: bool = False,
) -> Build:
    """One training iteration: five steps of the critic, each on new fakes, one of the generator.

    With ``freeze`` the generator's step leaves out the gradients of the critic's weights.
    """

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        require(name, problem.device)
        here = problem.at_most(batch)
        critic, (real, fake), args = here.critic(dtype), here.samples(dtype), here.arguments()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            generator = make_generator().to(here.device, dtype)
            noise = torch.randn(len(real), NOISE, dtype=dtype, device=here.device)
        gradients = make(critic, real, fake, args)
        critics, generators = adam(critic), adam(generator)

        def step(epsilon: Tensor | None = None) -> list[Tensor | None]:
            loss = noise
            for _ in range(N_CRITIC):
                with torch.no_grad():
                    fake.copy_(generator(noise if epsilon is not None else noise.normal_()))
                critics.zero_grad()
                loss = gradients(epsilon)
                critics.step()
            of_critic = [p.grad for p in critic.parameters()]
            critics.zero_grad()  # to compare what the critic was trained by, and no more
            generators.zero_grad()
            with frozen(critic) if freeze else contextlib.nullcontext():
                of_generator = -critic(generator(noise), *args).mean()
            of_generator.backward()
            generators.step()
            return [loss, *of_critic, *[p.grad for p in generator.parameters()]]

        return step

    return build
