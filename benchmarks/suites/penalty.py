"""The penalty alone, forward and backward, for critics of every kind that people train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import nn

from ..contestants import (
    BY_INDUCTOR,
    COMPILE,
    TOO_LONG,
    TRACED,
    Build,
    eager,
    jax_jit,
    one_graph,
    textbook,
)
from ..contestants.penalties import PENALTIES
from ..problems import critics
from ..problems.problem import Problem
from .case import Case

DCGAN = Problem("DCGAN 64x64", critics.dcgan, (3, 64, 64), 64)
MLP_2D = Problem("MLP 2-512x4-1", lambda: critics.mlp(2, 512, 4), (2,), 4096)
MLP_784 = Problem("MLP 784-512x4-1", lambda: critics.mlp(784, 512, 4), (784,), 1024)
TINY = Problem("MLP 2-16-1", lambda: critics.mlp(2, 16, 1), (2,), 64)

#: Raced with one thread and with the default allocator, too.
ANCHORS = [TINY, MLP_784, replace(DCGAN, batch=16)]


def normalised(name: str, norm: Callable[[int, int], nn.Module]) -> Problem:
    return Problem(
        f"DCGAN 64x64 {name}", lambda: critics.dcgan(norm=norm), (3, 64, 64), 32, smooth=True
    )


OTHERS = [
    MLP_2D,
    replace(MLP_2D, batch=256),
    DCGAN,
    replace(DCGAN, batch=128),
    Problem("ResNet 32x32", critics.resnet, (3, 32, 32), 64),
    normalised("LayerNorm", critics.layer_norm),
    normalised("InstanceNorm", critics.instance_norm),
    normalised("GroupNorm", critics.group_norm),
    Problem("projection 32x32", lambda: critics.Projection(10, 64), (3, 32, 32), 64, classes=10),
    Problem("WaveGAN 16384", critics.wavegan, (1, 16384), 16),
    Problem("CTGAN 10x40", lambda: critics.tabular(10, 40), (10, 40), 50),
    Problem("MLP 784-512x4-1 SiLU", lambda: critics.mlp(784, 512, 4, nn.SiLU), (784,), 256,
            smooth=True),
    Problem("DCGAN 32x32 SiLU", lambda: critics.dcgan(32, activation=nn.SiLU), (3, 32, 32), 32,
            smooth=True),
    Problem("attention 32x64", lambda: critics.Attention(16, 64), (32, 16), 64, smooth=True),
    Problem("LSTM 16x64", lambda: critics.Recurrent(nn.LSTM, 16, 64), (16, 16), 64, smooth=True),
    Problem("GRU 16x64", lambda: critics.Recurrent(nn.GRU, 16, 64), (16, 16), 64, smooth=True),
]  # fmt: skip


def contestants(problem: Problem) -> dict[str, Build]:
    """All that take part in the penalty alone, the baseline first."""
    builds = {name: eager.penalty(problem, name) for name in PENALTIES}
    if problem.name not in [anchor.name for anchor in ANCHORS]:
        del builds["wgan_fast reference, plain"]  # four of a kind, where it is not worth the time
    ours = PENALTIES["wgan_fast"]
    builds |= one_graph.losses(problem, ours, textbook.gradient_penalty)
    return builds | {"JAX jit": jax_jit.penalty(problem)}


def case(problem: Problem) -> Case:
    return Case(
        suite="penalty",
        name=f"{problem.name}, batch {problem.batch}",
        contestants=contestants(problem),
        batch=problem.batch,
        details={"critic": problem.name, "batch": problem.batch, "phase": "penalty"},
        anchor=problem in ANCHORS,
        floor_flops=problem.least_flops,
    )


#: Who is left out to keep the whole race short, of which problem, and why.
ABSENT = {
    ("DCGAN 64x64", 128): ((*BY_INDUCTOR, "JAX jit"), "takes minutes here; races at batch 64"),
    ("DCGAN 64x64 InstanceNorm", 32): (BY_INDUCTOR, "compiled with LayerNorm only"),
    ("DCGAN 64x64 GroupNorm", 32): (BY_INDUCTOR, "compiled with LayerNorm only"),
    ("GRU 16x64", 64): ((COMPILE, TRACED), "compiled with LSTM only"),
    ("DCGAN 16x16", 8): (BY_INDUCTOR, TOO_LONG),
}


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; a few small ones when ``quick``."""
    small = Problem("DCGAN 16x16", lambda: critics.dcgan(16, 8), (3, 16, 16), 8)
    for problem in [TINY, small] if quick else [*ANCHORS, *OTHERS]:
        made = case(replace(problem, device=device))
        names, reason = ABSENT.get((problem.name, problem.batch), ((), ""))
        made.leave_out(names, reason)
        yield made
