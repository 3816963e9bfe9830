"""As in training: the critic's whole step, and the whole iteration with five of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from ..problems import critics
from ..problems.problem import Problem
from . import penalty
from .case import Case

Generator = Callable[[], nn.Module]

TORCH = ("textbook", "tuned", "wgan_fast", "wgan_fast, plain")
#: Who calls the critic frozen in the generator's step.
FREEZES = "wgan_fast"


def critic_step(problem: Problem) -> Case:
    contestants: dict[str, Build] = {
        name: eager.critic_step(problem, name, eager.eager_gradients(name)) for name in TORCH
    }
    contestants[CAPTURED] = captured.critic_step(problem)
    contestants[REPLAYED] = captured.critic_step(problem, "replay")
    for name, record in ((COMPILE, compiled.recorded), (TRACED, compiled.traced)):
        contestants[name] = eager.critic_step(problem, name, compiled.gradients(record))
    contestants["JAX jit"] = jax_jit.critic_step(problem)
    return _case(problem, "critic step", contestants)


def iteration(problem: Problem, generator: Generator) -> Case:
    contestants: dict[str, Build] = {
        name: eager.iteration(
            problem, generator, name, eager.eager_gradients(name), freeze=name == FREEZES
        )
        for name in TORCH
    }
    contestants[CAPTURED] = captured.iteration(problem, generator)
    contestants[REPLAYED] = captured.iteration(problem, generator, "replay")
    for name, record in ((COMPILE, compiled.recorded), (TRACED, compiled.traced)):
        contestants[name] = eager.iteration(problem, generator, name, compiled.gradients(record))
    contestants["JAX jit"] = absent("the generator is not translated to JAX here")
    return _case(problem, "training iteration", contestants)


def _case(problem: Problem, phase: str, contestants: dict[str, Build]) -> Case:
    return Case(
        suite="step",
        name=f"{problem.name}, batch {problem.batch}, {phase}",
        contestants=contestants,
        batch=problem.batch,
        details={"critic": problem.name, "batch": problem.batch, "phase": phase},
        # Adam divides by the gradient's size, and turns rounding where it is zero into a step.
        tolerance=1e-12 if phase == "critic step" else 1e-6,
        timed_tolerance=1e-2 if phase == "critic step" else 1e-1,
    )


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; small ones when ``quick``."""
    vectors = (replace(penalty.MLP_2D, batch=256), lambda: critics.vector_generator(2, 512, 3))
    digits = (penalty.MLP_784, lambda: critics.vector_generator(784, 512, 3))
    images = (replace(penalty.DCGAN, batch=16), lambda: critics.generator(64, 64))
    tiny = (penalty.TINY, lambda: critics.vector_generator(2, 16, 1))
    for problem, generator in [tiny] if quick else [vectors, digits, images]:
        here = replace(problem, device=device)
        first, last = critic_step(here), iteration(here, generator)
        if quick:
            first.leave_out((CAPTURED, TRACED), TOO_LONG)
            last.leave_out(BY_INDUCTOR, TOO_LONG)
        yield from (first, last)
    if not quick:
        yield critic_step(replace(penalty.DCGAN, device=device))
