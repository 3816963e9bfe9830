"""Writes the table of docs/which-call.md: how often each loop goes through the critic.

    python -m benchmarks.passes

A pass is the work of calling the critic once at one batch: its floating-point operations. The
counts are exact and the same on every machine; a test compares them with the page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from tools import pages
from wgan_fast import (
    critic_loss,
    fast_gradient_penalty,
    frozen,
    gan_critic_loss,
    path_length_penalty,
    prune_zero_paths,
    r1_penalty,
    r1_penalty_of,
    r2_penalty,
    relativistic_critic_loss,
    wasserstein_critic_loss,
)

from .contestants.textbook import penalty_at
from .flops import flops_of
from .problems.critics import Layer, leaky, mlp

PAGE = Path(__file__).parents[1] / "docs" / "which-call.md"

#: Goes forward and backward: ``(network, real, fake)``, where the network is mostly the critic.
Step = Callable[[nn.Module, Tensor, Tensor], None]
#: Of scores and the points where they were computed.
PenaltyOf = Callable[[Tensor, Tensor], Tensor]

BATCH, INPUTS, WIDTH, DEPTH = 32, 8, 512, 8


def critic_of(activation: Layer) -> nn.Module:
    """Nearly all of its work is in layers that have another one before them and behind them."""
    return mlp(INPUTS, WIDTH, DEPTH, activation)


def generator_of(activation: Layer) -> nn.Module:
    """Latents ``[B, 8]`` to 16 pixels of 32 channels, to be reshaped."""
    return nn.Sequential(*mlp(INPUTS, WIDTH, DEPTH, activation)[:-1], nn.Linear(WIDTH, 512))


# The usual code.


def half_squares(scores: Tensor, points: Tensor) -> Tensor:
    """R1 or R2 with weight 1, from scores that have a graph."""
    (gradients,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return gradients.square().flatten(1).sum(1).mean() / 2


def wgan_gp(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    points = real.lerp(fake, 0.5).requires_grad_()
    (wasserstein_critic_loss(critic(real), critic(fake)) + penalty_at(critic, points)).backward()


def r1(critic: nn.Module, real: Tensor, fake: Tensor, penalty: PenaltyOf = half_squares) -> None:
    real = real.clone().requires_grad_()
    scores = critic(real)
    (gan_critic_loss(scores, critic(fake)) + penalty(scores, real)).backward()


def r1_r2(critic: nn.Module, real: Tensor, fake: Tensor, penalty: PenaltyOf = half_squares) -> None:
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    real_scores, fake_scores = critic(real), critic(fake)
    loss = relativistic_critic_loss(real_scores, fake_scores)
    (loss + penalty(real_scores, real) + penalty(fake_scores, fake)).backward()


def r1_alone(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    real = real.clone().requires_grad_()
    half_squares(critic(real), real).backward()


def two_backward_calls(
    critic: nn.Module, real: Tensor, fake: Tensor, penalty: PenaltyOf = half_squares
) -> None:
    real = real.clone().requires_grad_()
    scores = critic(real)
    softplus(-scores).mean().backward(retain_graph=True)
    penalty(scores, real).backward()
    softplus(critic(fake)).mean().backward()


def generator_step(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    (-critic(fake.clone().requires_grad_()).mean()).backward()


def path_length(
    generator: nn.Module, latents: Tensor, _: Tensor, double_backward: str = "plain"
) -> None:
    latents = latents.clone().requires_grad_()
    images = generator(latents).reshape(len(latents), 32, 4, 4)
    path_length_penalty(images, latents, target=1.0, double_backward=double_backward).backward()


# The same with the library.


def by_fast_gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    loss = wasserstein_critic_loss(critic(real), critic(fake))
    (loss + fast_gradient_penalty(critic, real, fake)).backward()


def by_r1_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    (gan_critic_loss(critic(real), critic(fake)) + r1_penalty(critic, real)).backward()


def by_r1_and_r2_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    loss = relativistic_critic_loss(critic(real), critic(fake))
    (loss + r1_penalty(critic, real) + r2_penalty(critic, fake)).backward()


def by_prune_zero_paths(scores: Tensor, points: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return prune_zero_paths(gradients).square().flatten(1).sum(1).mean() / 2


def generator_step_frozen(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
    with frozen(critic):
        generator_step(critic, real, fake)


def by_critic_loss(**arguments: str | float) -> Step:
    def step(critic: nn.Module, real: Tensor, fake: Tensor) -> None:
        critic_loss(critic, real, fake, **arguments).backward()

    return step


class Loop(NamedTuple):
    """A loop, the ways to write it, and the network whose passes are counted."""

    name: str
    ways: dict[str, Step]
    network: Callable[[Layer], nn.Module] = critic_of


USUAL = "the usual code"
LOOPS = [
    Loop("WGAN-GP", {
        USUAL: wgan_gp,
        "`fast_gradient_penalty`": by_fast_gradient_penalty,
        "`critic_loss(gp=…)`": by_critic_loss(gp=10.0),
    }),
    Loop("loss and R1 of the same scores", {
        USUAL: r1,
        "`critic_loss(r1=…)`": by_critic_loss(loss="gan", r1=10.0),
        "`r1_penalty_of`": lambda *given: r1(*given, r1_penalty_of),
        "`r1_penalty`": by_r1_penalty,
    }),
    Loop("loss, R1 and R2 of the same scores", {
        USUAL: r1_r2,
        "`critic_loss(r1=…, r2=…)`": by_critic_loss(loss="relativistic", r1=1.0, r2=1.0),
        "`r1_penalty_of`, twice": lambda *given: r1_r2(*given, r1_penalty_of),
        "`r1_penalty`, `r2_penalty`": by_r1_and_r2_penalty,
    }),
    Loop("R1 in a phase of its own", {
        USUAL: r1_alone,
        "`r1_penalty`": lambda critic, real, _: r1_penalty(critic, real).backward(),
    }),
    Loop("loss and R1, a `backward()` each", {
        USUAL: two_backward_calls,
        "`r1_penalty_of`": lambda *given: two_backward_calls(*given, r1_penalty_of),
        "`prune_zero_paths`": lambda *given: two_backward_calls(*given, by_prune_zero_paths),
        "`critic_loss(r1=…)`, one `backward()`": by_critic_loss(loss="gan", r1=10.0),
    }),
    Loop("generator's step", {USUAL: generator_step, "`frozen`": generator_step_frozen}),
    Loop("path length, in passes of the generator", {
        USUAL: path_length,
        "`path_length_penalty`": lambda *given: path_length(*given, "pruned"),
    }, generator_of),
]  # fmt: skip


def passes(loop: Loop, way: str, activation: Layer) -> float:
    """Of the network, for one step of a loop."""
    network = loop.network(activation)
    real, fake = torch.randn(2, BATCH, INPUTS)
    with torch.no_grad():
        one = flops_of(lambda: network(real))
    return flops_of(lambda: loop.ways[way](network, real, fake)) / one


def rows(loop: Loop) -> list[list[str]]:
    """Of the table: the loop, the way, and the passes of the two kinds of networks."""
    counts = [[passes(loop, way, each) for each in (leaky, nn.SiLU)] for way in loop.ways]
    return [
        [loop.name if way == USUAL else "", way, *(f"{round(count, 1):g}" for count in both)]
        for way, both in zip(loop.ways, counts, strict=True)
    ]


def table() -> str:
    header = ["loop", "call", "linear piece by piece", "any other"]
    return pages.numbers(header, [row for loop in LOOPS for row in rows(loop)])


def main() -> None:
    pages.write("passes", table(), PAGE)


if __name__ == "__main__":
    main()
