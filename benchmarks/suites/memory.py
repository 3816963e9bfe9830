"""The peak memory of the penalty with its backward pass, for all contestants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..contestants import eager
from ..contestants.penalties import ours
from ..problems import critics
from ..problems.problem import Problem
from . import growth, penalty
from .case import Case


def case(problem: Problem) -> Case:
    made = penalty.case(problem)
    made.contestants[growth.CHUNKED] = eager.penalty(
        problem, "wgan_fast", ours("native", "pruned", 16)
    )
    return replace(made, suite="memory", memory=tuple(made.contestants), timed=False)


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; one small one when ``quick``."""
    if quick:
        small = Problem("DCGAN 32x32", lambda: critics.dcgan(32, 8), (3, 32, 32), 32)
        made = case(replace(small, device=device))
        kept = ("textbook", "wgan_fast")
        yield replace(made, memory=kept)
        return
    yield case(replace(penalty.DCGAN, batch=128, device=device))
