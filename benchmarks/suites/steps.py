"""The whole loss of a critic's step, forward and backward: R1, R1 and R2, or WGAN-GP.

A loss and its penalties may share what they compute: the usual code shares the forward pass, and
critic_loss what it can beyond. The suite step times WGAN-GP with the optimiser, the penalty beside
a loss of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from ..contestants import (
    BY_INDUCTOR,
    CAPTURED,
    COMPILE,
    REPLAYED,
    TOO_LONG,
    TRACED,
    Build,
    absent,
    captured,
    compiled,
    eager,
    jax_jit,
)
from ..contestants.critic_losses import CRITIC_LOSSES, USUAL
from ..problems import critics, stylegan
from ..problems.problem import Problem
from . import growth, penalty
from .case import Case

#: What is raced of each critic.
PHASES = ("R1", "R1+R2", "WGAN-GP")

PROBLEMS = [
    penalty.MLP_784,
    Problem("MLP 784-512x4-1 SiLU", lambda: critics.mlp(784, 512, 4, nn.SiLU), (784,), 1024,
            smooth=True),
    replace(penalty.DCGAN, batch=32),
    Problem("ResNet 32x32", critics.resnet, (3, 32, 32), 32),
    Problem("R3GAN 32x32", stylegan.r3gan, (3, 32, 32), 32),
    Problem("StyleGAN2 64x64", lambda: stylegan.stylegan2(deviation=False), (3, 64, 64), 16),
    Problem("StyleGAN2 64x64 deviation", stylegan.stylegan2, (3, 64, 64), 16, smooth=True),
]  # fmt: skip


#: Critics that are compiled for longer than all others are raced: seven minutes for R3GAN's step.
LONG_TO_COMPILE = ("R3GAN", "StyleGAN2")


def case(problem: Problem, phase: str) -> Case:
    contestants: dict[str, Build] = {
        name: eager.loss(problem, name, losses[phase]) for name, losses in CRITIC_LOSSES.items()
    }
    ours, usual = CRITIC_LOSSES["wgan_fast"][phase], CRITIC_LOSSES[USUAL][phase]
    contestants[CAPTURED] = captured.loss(problem, ours)
    contestants[REPLAYED] = captured.loss(problem, ours, "replay")
    contestants[COMPILE] = compiled.loss(problem, usual)
    contestants[TRACED] = compiled.loss(problem, usual, compiled.traced)
    contestants["JAX jit"] = jax_jit.critic_loss(problem, phase)
    return Case(
        suite="steps",
        name=f"{problem.name}, batch {problem.batch}, {phase}",
        contestants=contestants,
        batch=problem.batch,
        details={
            "critic": problem.name,
            "batch": problem.batch,
            "phase": phase,
            "smooth": problem.smooth,
        },
        pass_flops=problem.forward_flops,
    )


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; those of one critic, and one more, when ``quick``."""
    small = Problem("StyleGAN2 8x8 deviation", lambda: stylegan.stylegan2(8, 4), (3, 8, 8), 8,
                    smooth=True)  # fmt: skip
    chosen = [(problem, phase) for problem in PROBLEMS for phase in PHASES]
    if quick:
        chosen = [*((growth.of_depth(2), phase) for phase in PHASES), (small, "R1+R2")]
    for problem, phase in chosen:
        made = case(replace(problem, device=device), phase)
        if quick:
            made.contestants.update(dict.fromkeys(BY_INDUCTOR, absent(TOO_LONG)))
        elif problem.name.startswith(LONG_TO_COMPILE):
            too_long = absent("compiling it takes many minutes")
            made.contestants.update(dict.fromkeys((*BY_INDUCTOR, "JAX jit"), too_long))
        elif len(problem.shape) > 1 and phase != "R1+R2":  # minutes for each, to show the same
            only_one = absent("on images it races with R1+R2 only")
            made.contestants.update(dict.fromkeys((*BY_INDUCTOR, "JAX jit"), only_one))
        yield made
