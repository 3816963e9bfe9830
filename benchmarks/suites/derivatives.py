"""Losses of a network's derivatives: a differential equation, and the forces of a force field.

What ``efficient_double_backward`` is worth to others than GANs, against plain PyTorch. The network
of the equation is differentiated three times, that of the force field twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from ..contestants import BY_INDUCTOR, TOO_LONG, Build, absent, eager, one_graph
from ..contestants.critic_losses import USUAL
from ..contestants.derivatives import DERIVATIVES
from ..problems import critics, energies
from ..problems.problem import Problem
from .case import Case

TANH = Problem("tanh 2-64x4-1", lambda: critics.mlp(2, 64, 4, nn.Tanh), (2,), 16384, smooth=True)
SILU = Problem("SiLU 2-64x4-1", lambda: critics.mlp(2, 64, 4, nn.SiLU), (2,), 16384, smooth=True)
#: As many atoms as aspirin has.
FORCES = Problem("21 atoms", lambda: energies.MessagePassing(21), (21, 3), 32, smooth=True)

CASES = [
    ("Burgers", replace(TANH, batch=4096)),
    ("Burgers", TANH),
    ("Burgers", replace(TANH, batch=65536)),
    ("Burgers", SILU),
    ("force matching", replace(FORCES, batch=8)),
    ("force matching", FORCES),
]
QUICK = [("Burgers", replace(TANH, batch=64)), ("force matching", replace(FORCES, batch=2))]


def case(problem: Problem, phase: str) -> Case:
    contestants: dict[str, Build] = {
        name: eager.loss(problem, name, losses[phase]) for name, losses in DERIVATIVES.items()
    }
    ours, usual = DERIVATIVES["wgan_fast"][phase], DERIVATIVES[USUAL][phase]
    contestants |= one_graph.losses(problem, ours, usual)
    contestants["JAX jit"] = absent("these losses are not translated to JAX here")
    return Case(
        suite="derivatives",
        name=f"{phase}, {problem.name}, batch {problem.batch}",
        contestants=contestants,
        batch=problem.batch,
        details={"critic": problem.name, "batch": problem.batch, "phase": phase},
    )


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; small ones when ``quick``."""
    for phase, problem in QUICK if quick else CASES:
        made = case(replace(problem, device=device), phase)
        if quick:
            made.leave_out(BY_INDUCTOR, TOO_LONG)
        yield made
