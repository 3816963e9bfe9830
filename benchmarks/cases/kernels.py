"""Each operator by itself: the textbook's expression, the best plain PyTorch, reference, native.

Interpolation draws its factors in every contestant, since each draws its own, they are compared
at given factors; the penalty is lambda / B times the sum of squared distances from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from wgan_fast import native, ops

from .case import Case

SHAPES = [(64, 256), (64, 3072), (64, 12288), (64, 49152), (256, 49152), (65536, 2)]
QUICK_SHAPES = [(64, 256), (64, 3072), (4096, 2)]

LAMBDA = 10.0


def textbook_interpolate(real: Tensor, fake: Tensor, epsilon: Tensor | None) -> Tensor:
    if epsilon is None:
        epsilon = torch.rand(len(real), 1, dtype=real.dtype)
    return epsilon * real + (1 - epsilon) * fake


def tuned_interpolate(real: Tensor, fake: Tensor, epsilon: Tensor | None) -> Tensor:
    if epsilon is None:
        epsilon = torch.rand(len(real), 1, dtype=real.dtype)
    return torch.lerp(fake, real, epsilon)


def our_interpolate(backend: str) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    def interpolate(real: Tensor, fake: Tensor, epsilon: Tensor | None) -> Tensor:
        if epsilon is None:
            seed = torch.randint(2**63 - 1, ())
            return ops.random_interpolate(real, fake, seed, backend=backend)
        factors = epsilon.flatten().to(torch.promote_types(real.dtype, torch.float32))
        return ops.interpolate(real, fake, factors, backend=backend)

    return interpolate


def textbook_penalty(gradients: Tensor) -> Tensor:
    return LAMBDA * ((torch.sqrt(torch.sum(gradients**2, dim=1)) - 1) ** 2).mean()


def tuned_penalty(gradients: Tensor) -> Tensor:
    return LAMBDA * (torch.linalg.vector_norm(gradients, dim=1) - 1).square().mean()


def our_penalty(backend: str) -> Callable[[Tensor], Tensor]:
    def penalty(gradients: Tensor) -> Tensor:
        scale = LAMBDA / len(gradients)
        return ops.norm_penalty(gradients, scale=scale, backend=backend)[0]

    return penalty


def backends() -> list[str]:
    return ["reference", *(["native"] if native.serves("interpolate", "cpu") else [])]


def interpolation(batch: int, dim: int, dtype: torch.dtype, backward: bool) -> Case:
    real, fake, grad = torch.randn(3, batch, dim).to(dtype)
    epsilon = torch.rand(batch, 1).to(dtype)
    real.requires_grad_(backward)
    fake.requires_grad_(backward)

    def contestant(function: Callable[..., Tensor]) -> Callable[..., Any]:
        def run(epsilon: Tensor | None = None) -> Any:
            out = function(real, fake, epsilon)
            return torch.autograd.grad(out, (real, fake), grad) if backward else out

        run.agreement = lambda: run(epsilon)  # type: ignore[attr-defined]
        return run

    ways = {"textbook": textbook_interpolate, "plain PyTorch": tuned_interpolate}
    ways |= {name: our_interpolate(name) for name in backends()}
    arrays = 6 if backward else 3
    return _case("random_interpolate", batch, dim, dtype, backward, arrays, ways, contestant)


def penalty(batch: int, dim: int, dtype: torch.dtype, backward: bool) -> Case:
    # Norms around 2: near the target, bfloat16 leaves nothing of the difference to compare.
    gradients = (2 * torch.randn(batch, dim) / dim**0.5).to(dtype).requires_grad_(backward)

    def contestant(function: Callable[..., Tensor]) -> Callable[..., Any]:
        def run() -> Any:
            out = function(gradients)
            return torch.autograd.grad(out, gradients) if backward else out

        return run

    ways = {"textbook": textbook_penalty, "plain PyTorch": tuned_penalty}
    ways |= {name: our_penalty(name) for name in backends()}
    return _case(
        "norm_penalty", batch, dim, dtype, backward, 3 if backward else 1, ways, contestant
    )


def _case(
    op: str,
    batch: int,
    dim: int,
    dtype: torch.dtype,
    backward: bool,
    arrays: int,
    ways: dict[str, Callable[..., Tensor]],
    contestant: Callable[..., Callable[..., Any]],
) -> Case:
    phase = "forward+backward" if backward else "forward"
    short = str(dtype).removeprefix("torch.")
    return Case(
        suite="kernels",
        name=f"{op} {batch}x{dim} {short} {phase}",
        contestants={name: contestant(way) for name, way in ways.items()},
        baseline="textbook",
        details={"op": op, "batch": batch, "dim": dim, "dtype": short, "phase": phase},
        traffic_bytes=arrays * batch * dim * dtype.itemsize,
        tolerance={torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.05}[dtype],
    )


def cases(quick: bool) -> Iterator[Case]:
    """The cases of this suite; a few small ones when ``quick``."""
    for batch, dim in QUICK_SHAPES if quick else SHAPES:
        for backward in (False, True):
            for make in (interpolation, penalty):
                yield make(batch, dim, torch.float32, backward)
    for dtype in (torch.bfloat16, torch.float64):
        for make in (interpolation, penalty):
            yield make(64, 3072 if quick else 49152, dtype, True)
