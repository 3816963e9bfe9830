"""The overhead of the penalty: critics so small that nothing can be gained.

Beside them the normalised critics of 32x32 images, whose double backward leaves little to cut.
Where the library has no compiled kernels, cases and contestant are named so, and a race can run
both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from ..contestants import eager
from ..contestants.penalties import PURE, REFERENCE, ours, why_not_native
from ..problems import critics
from ..problems.problem import Problem
from . import penalty
from .case import Case

#: What follows the name of a case that is raced where the library has no compiled kernels.
WITHOUT_KERNELS = ", pure build"

Norm = Callable[[int, int], nn.Module]

NORMS: dict[str, Norm] = {
    "LayerNorm": critics.layer_norm,
    "GroupNorm": critics.group_norm,
    "InstanceNorm": critics.instance_norm,
}

#: What is special about a small critic, by the name that follows the critic's; all that is named
#: makes it smooth.
MLP_KINDS: dict[str, dict[str, Any]] = {
    "SiLU": {"activation": nn.SiLU},
    "LayerNorm": {"norm": nn.LayerNorm},
    "GroupNorm": {"norm": lambda features: nn.GroupNorm(8, features)},
}
DCGAN_KINDS: dict[str, dict[str, Any]] = {
    "": {},
    "SiLU": {"activation": nn.SiLU},
    **{name: {"norm": norm} for name, norm in NORMS.items()},
}


def mlp(kind: str) -> Problem:
    return Problem(
        f"MLP 2-16-1 {kind}",
        lambda: critics.mlp(2, 16, 1, **MLP_KINDS[kind]),
        (2,),
        64,
        smooth=True,
    )


def dcgan(size: int, kind: str) -> Problem:
    """One feature after the first convolution, for images of one channel."""
    return Problem(
        f"DCGAN 1x{size}x{size} width 1 {kind}".strip(),
        lambda: critics.dcgan(size, 1, channels=1, **DCGAN_KINDS[kind]),
        (1, size, size),
        8,
        smooth=bool(kind),
    )


def normalised(name: str, norm: Norm) -> Problem:
    return Problem(
        f"DCGAN 32x32 {name}", lambda: critics.dcgan(32, norm=norm), (3, 32, 32), 16, smooth=True
    )


RESNET = Problem("ResNet 32x32 width 4", lambda: critics.resnet(4), (3, 32, 32), 8)

#: Raced at their own batch and at batch 1.
SMALL = [
    penalty.TINY,
    *map(mlp, MLP_KINDS),
    *(dcgan(size, kind) for size in (16, 32) for kind in DCGAN_KINDS),
    RESNET,
]

NORMALISED = [normalised(name, norm) for name, norm in NORMS.items()]


def case(problem: Problem) -> Case:
    pure = why_not_native(problem.device) is not None
    contestants = {name: eager.penalty(problem, name) for name in ("textbook", "tuned")}
    if pure:
        contestants[PURE] = eager.penalty(problem, PURE, ours("auto", "pruned"))
    else:
        contestants |= {name: eager.penalty(problem, name) for name in ("wgan_fast", REFERENCE)}
    return Case(
        suite="overhead",
        name=f"{problem.name}, batch {problem.batch}{WITHOUT_KERNELS if pure else ''}",
        contestants=contestants,
        batch=problem.batch,
        details={"critic": problem.name, "batch": problem.batch, "phase": "penalty"},
    )


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; two of them when ``quick``."""
    at_one = [replace(problem, batch=1) for problem in SMALL]
    few = [penalty.TINY, dcgan(16, "GroupNorm")]
    for problem in few if quick else [*SMALL, *at_one, *NORMALISED]:
        yield case(replace(problem, device=device))
