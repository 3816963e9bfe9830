"""The gradient penalty, written in every way that is raced in plain (eager) PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import _native as native

from ..problems.problem import LAMBDA
from . import UnavailableError, textbook

#: ``penalty(critic, real, fake, epsilon, args)``; epsilon None: draw.
Penalty = Callable[[nn.Module, Tensor, Tensor, "Tensor | None", "tuple[Any, ...]"], Tensor]


def tuned(
    critic: nn.Module, real: Tensor, fake: Tensor, epsilon: Tensor | None, args: tuple[Any, ...]
) -> Tensor:
    """The best that plain PyTorch allows without touching the double backward."""
    if epsilon is None:
        epsilon = torch.rand(len(real), dtype=real.dtype, device=real.device)
    factors = epsilon.view(-1, *[1] * (real.dim() - 1))
    interpolates = torch.lerp(fake, real, factors).requires_grad_()
    scores = critic(interpolates, *args)
    (gradients,) = torch.autograd.grad(
        scores, interpolates, torch.ones_like(scores), create_graph=True
    )
    norms = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
    return (norms - 1).square().mean() * LAMBDA


def ours(backend: str, double_backward: str, chunk_size: int | None = None) -> Penalty:
    """``fast_gradient_penalty`` with this backend and double backward."""

    def penalty(
        critic: nn.Module, real: Tensor, fake: Tensor, epsilon: Tensor | None, args: tuple[Any, ...]
    ) -> Tensor:
        return fast_gradient_penalty(
            critic,
            real,
            fake,
            lambda_gp=LAMBDA,
            epsilon=epsilon,
            critic_args=args,
            chunk_size=chunk_size,
            backend=backend,
            double_backward=double_backward,
        )

    return penalty


def why_not_native(device: str, operator: str = "norm_penalty") -> str | None:
    """Why no compiled kernel serves an operator on this device; None where one does."""
    return native.why_not(operator, device)


def require_native(device: str, operator: str = "norm_penalty") -> None:
    """Raises UnavailableError if the library has no compiled kernel for an operator."""
    reason = why_not_native(device, operator)
    if reason is not None:
        raise UnavailableError(reason)


def require(penalty_name: str, device: str) -> None:
    """Raises UnavailableError if this contestant asks for compiled kernels that are not there."""
    if penalty_name.startswith("wgan_fast") and not penalty_name.startswith((REFERENCE, PURE)):
        require_native(device)


REFERENCE = "wgan_fast reference"

#: ``backend="auto"`` where the library has no compiled kernels: what one gets without a compiler.
#: It is raced in a process that finds none; see :mod:`benchmarks.race.settings`.
PURE = "wgan_fast pure"

#: The contestants in plain PyTorch. "wgan_fast" is what a user gets who changes nothing.
PENALTIES: dict[str, Penalty] = {
    "textbook": textbook.gradient_penalty,
    "tuned": tuned,
    "wgan_fast": ours("native", "pruned"),
    "wgan_fast, plain": ours("native", "plain"),
    REFERENCE: ours("reference", "pruned"),
    "wgan_fast reference, plain": ours("reference", "plain"),
}
