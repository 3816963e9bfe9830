"""Time and peak memory of the penalty against batch, image size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from ..contestants import CAPTURED, COMPILE, TRACED, Build, captured, compiled, eager, jax_jit
from ..contestants.penalties import PENALTIES, ours
from ..problems import critics
from ..problems.problem import Problem
from . import penalty
from .case import Case

CHUNKED = "wgan_fast, chunk_size=16"

#: So large that they need 2 to 6 GiB. A call takes many seconds: the peak of memory is measured and
#: the time is not.
FOR_MEMORY = {"batch": (512, 1536, 2304), "image size": (256, 512)}


def of_size(size: int, batch: int = 16) -> Problem:
    return Problem(f"DCGAN {size}x{size}", lambda: critics.dcgan(size), (3, size, size), batch)


def of_depth(depth: int) -> Problem:
    def critic() -> nn.Module:
        # With PyTorch's own initialisation the gradient of 64 layers has vanished, so far that the
        # textbook's float32 norm underflows to zero and there is nothing to agree with.
        net = critics.mlp(64, 256, depth)
        for layer in net:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        return net

    return Problem(f"MLP 64-256x{depth}-1", critic, (64,), 512)


def case(
    problem: Problem,
    critic: str,
    axis: str,
    value: int,
    *,
    memory: bool,
    timed: bool = True,
    graphs: tuple[str, ...] = (),
) -> Case:
    """One point of a curve: ``critic`` names the curve, ``axis`` what grows along it, ``graphs``
    who races beside eager PyTorch."""
    contestants: dict[str, Build] = {
        name: eager.penalty(problem, name) for name in ("textbook", "wgan_fast")
    }
    whole: dict[str, Build] = {
        CAPTURED: captured.loss(problem, PENALTIES["wgan_fast"]),
        COMPILE: compiled.penalty(problem),
        TRACED: compiled.penalty(problem, compiled.traced),
        "JAX jit": jax_jit.penalty(problem),
    }
    contestants |= {name: whole[name] for name in graphs}
    measured: tuple[str, ...] = ("textbook", "wgan_fast") if memory else ()
    if memory and axis == "batch":
        contestants[CHUNKED] = eager.penalty(problem, "wgan_fast", ours("native", "pruned", 16))
        measured += (CHUNKED,)
    return Case(
        suite="growth",
        name=f"{critic}, {axis} {value}",
        contestants=contestants,
        batch=problem.batch,
        details={"critic": critic, "axis": axis, "value": value, "phase": "penalty"},
        floor_flops=problem.least_flops,
        memory=measured,
        timed=timed,
    )


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The points of every curve; two small ones of each when ``quick``."""
    # On images compiling, and JAX, would take all the time of this suite.
    mlp = replace(penalty.MLP_2D, device=device)
    graphs = ("JAX jit",) if quick else (CAPTURED, COMPILE, TRACED, "JAX jit")
    for batch in (16, 64) if quick else (16, 64, 256, 1024, 4096, 16384):
        here = replace(mlp, batch=batch)
        yield case(here, mlp.name, "batch", batch, memory=False, graphs=graphs)
    size = 16 if quick else 64
    for batch in (8, 32) if quick else (8, 32, 64, 128, *FOR_MEMORY["batch"]):
        problem = replace(of_size(size, batch), device=device)
        timed = batch not in FOR_MEMORY["batch"]
        memory = batch > 8 or not quick
        yield case(problem, problem.name, "batch", batch, memory=memory, timed=timed)
    for size in (8, 16) if quick else (16, 32, 64, 128, *FOR_MEMORY["image size"]):
        problem = replace(of_size(size), device=device)
        timed = size not in FOR_MEMORY["image size"]
        yield case(problem, "DCGAN, batch 16", "image size", size, memory=size > 32, timed=timed)
    for depth in (1, 2) if quick else (1, 4, 16, 64):
        problem = replace(of_depth(depth), device=device)
        yield case(problem, "MLP 64-256-1, batch 512", "depth", depth, memory=depth > 4)
