"""Each operator by itself: the textbook's expression, the best plain PyTorch, reference, native.

Interpolation draws its factors in every contestant when it is timed, and takes given ones (the
operator ``interpolate``) when it is compared. The penalty is lambda / B times the sum of squared
distances from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from wgan_fast import ops

from ..contestants import Build, Step, textbook
from ..contestants.penalties import require_native
from ..problems.problem import LAMBDA
from .case import Case

SHAPES = [(64, 256), (64, 3072), (64, 12288), (64, 49152), (256, 49152), (65536, 2)]
HUGE = (1024, 262144)  # 1 GiB an array in float32
QUICK_SHAPES = [(64, 256), (4096, 2)]
ANCHORS = [(64, 256), (64, 49152)]

PHASES = ("forward", "backward", "forward+backward")

#: How many arrays of B x D each phase must read and write.
ARRAYS = {"random_interpolate": (3, 3, 6), "norm_penalty": (1, 2, 3)}

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.05}

#: ``way(inputs, epsilon)``: inputs are real and fake, or the gradients; epsilon is None for a draw.
Way = Callable[[list[Tensor], "Tensor | None"], Tensor]


def _factors(real: Tensor, epsilon: Tensor | None) -> Tensor:
    if epsilon is None:
        return torch.rand(len(real), 1, dtype=real.dtype, device=real.device)
    return epsilon.to(real.dtype).unsqueeze(1)


def textbook_interpolate(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
    real, fake = inputs
    return textbook.interpolate(real, fake, _factors(real, epsilon))


def tuned_interpolate(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
    real, fake = inputs
    return torch.lerp(fake, real, _factors(real, epsilon))


def our_interpolate(backend: str) -> Way:
    def interpolate(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
        real, fake = inputs
        if epsilon is None:
            seed = torch.randint(2**63 - 1, ())
            return ops.random_interpolate(real, fake, seed, backend=backend)
        return ops.interpolate(real, fake, epsilon, backend=backend)

    return interpolate


def textbook_penalty(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
    return textbook.norm_penalty(inputs[0])


def tuned_penalty(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
    return LAMBDA * (torch.linalg.vector_norm(inputs[0], dim=1) - 1).square().mean()


def our_penalty(backend: str) -> Way:
    def penalty(inputs: list[Tensor], epsilon: Tensor | None) -> Tensor:
        scale = LAMBDA / len(inputs[0])
        return ops.norm_penalty(inputs[0], scale=scale, backend=backend)[0]

    return penalty


WAYS: dict[str, dict[str, Way]] = {
    "random_interpolate": {
        "textbook": textbook_interpolate,
        "tuned": tuned_interpolate,
        "wgan_fast": our_interpolate("native"),
        "wgan_fast reference": our_interpolate("reference"),
    },
    "norm_penalty": {
        "textbook": textbook_penalty,
        "tuned": tuned_penalty,
        "wgan_fast": our_penalty("native"),
        "wgan_fast reference": our_penalty("reference"),
    },
}


def inputs_of(op: str, batch: int, dim: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    if op == "norm_penalty":
        # Norms around 2: near the target, bfloat16 leaves nothing of the difference to compare.
        drawn = torch.randn(1, batch, dim, generator=generator) * (2 / dim**0.5)
    else:
        drawn = torch.randn(2, batch, dim, generator=generator)
    return [part.to(device, dtype, copy=True) for part in drawn]


def contestant(op: str, shape: tuple[int, int], phase: str, way: Way, device: str) -> Build:
    def build(dtype: torch.dtype, batch: int | None) -> Step:
        rows = shape[0] if batch is None else min(batch, shape[0])
        inputs = inputs_of(op, rows, shape[1], dtype, device)
        if phase == "forward":
            return lambda epsilon=None: [way(inputs, epsilon)]
        inputs = [part.requires_grad_() for part in inputs]

        def differentiated(out: Tensor, **options: Any) -> Any:
            outgoing = torch.ones_like(out) if out.dim() == 0 else inputs[0].detach()
            return torch.autograd.grad(out, inputs, outgoing, **options)

        if phase == "forward+backward":
            return lambda epsilon=None: differentiated(way(inputs, epsilon))
        kept = way(inputs, None)

        def backward(epsilon: Tensor | None = None) -> Any:
            out = kept if epsilon is None else way(inputs, epsilon)
            return differentiated(out, retain_graph=True)

        return backward

    return build


def needs_native(build: Build, op: str, device: str) -> Build:
    def built(dtype: torch.dtype, batch: int | None) -> Step:
        require_native(device, op)
        return build(dtype, batch)

    return built


def case(op: str, shape: tuple[int, int], dtype: torch.dtype, phase: str, device: str) -> Case:
    batch, dim = shape
    short = str(dtype).removeprefix("torch.")
    contestants = {
        name: contestant(op, shape, phase, way, device) for name, way in WAYS[op].items()
    }
    contestants["wgan_fast"] = needs_native(contestants["wgan_fast"], op, device)
    return Case(
        suite="kernels",
        name=f"{op} {batch}x{dim} {short}, {phase}",
        contestants=contestants,
        batch=batch,
        dtype=dtype,
        details={
            "op": op, "batch": batch, "dim": dim, "dtype": short, "phase": phase,
            "array_bytes": batch * dim * dtype.itemsize,
        },
        anchor=shape in ANCHORS and dtype == torch.float32 and phase == PHASES[2],
        traffic_bytes=ARRAYS[op][PHASES.index(phase)] * batch * dim * dtype.itemsize,
        timed_tolerance=TOLERANCES[dtype],
    )  # fmt: skip


def cases(quick: bool, device: str) -> Iterator[Case]:
    """The cases of this suite; a few small ones when ``quick``."""
    both = ("random_interpolate", "norm_penalty")
    for shape in QUICK_SHAPES if quick else SHAPES:
        for phase in PHASES:
            for op in both:
                yield case(op, shape, torch.float32, phase, device)
    for dtype in (torch.bfloat16, torch.float64):
        for op in both:
            yield case(op, (64, 3072 if quick else 49152), dtype, PHASES[2], device)
    if not quick:
        for op in both:
            yield case(op, HUGE, torch.float32, PHASES[2], device)
