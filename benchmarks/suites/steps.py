"""The whole loss of a critic's step, forward and backward: R1, R1 and R2, or WGAN-GP.

A loss and its penalties may share what they compute: the usual code shares the forward pass, and
critic_loss what it can beyond. The suite step times WGAN-GP with the optimiser, the penalty beside
a loss of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from ..contestants import BY_INDUCTOR, TOO_LONG, Build, eager, jax_jit, one_graph
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
    contestants |= one_graph.losses(problem, ours, usual)
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
            made.leave_out(BY_INDUCTOR, TOO_LONG)
        elif problem.name.startswith(LONG_TO_COMPILE):
            made.leave_out((*BY_INDUCTOR, "JAX jit"), "compiling it takes many minutes")
        elif len(problem.shape) > 1 and phase != "R1+R2":  # minutes for each, to show the same
            made.leave_out((*BY_INDUCTOR, "JAX jit"), "on images it races with R1+R2 only")
        yield made
