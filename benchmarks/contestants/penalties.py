"""The gradient penalty, written in every way that is raced in plain (eager) PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import _native as native

from ..cases.problem import LAMBDA
from . import UnavailableError

#: ``penalty(critic, real, fake, epsilon, args)``; epsilon None: draw.
Penalty = Callable[[nn.Module, Tensor, Tensor, "Tensor | None", "tuple[Any, ...]"], Tensor]


def textbook(
    critic: nn.Module, real: Tensor, fake: Tensor, epsilon: Tensor | None, args: tuple[Any, ...]
) -> Tensor:
    """As the popular repositories write it."""
    if epsilon is None:
        epsilon = torch.rand(real.size(0), dtype=real.dtype, device=real.device)
    alpha = epsilon.view(-1, *[1] * (real.dim() - 1))
    interpolates = (alpha * real + (1 - alpha) * fake).detach().requires_grad_(True)
    scores = critic(interpolates, *args)
    gradients = torch.autograd.grad(
        outputs=scores,
        inputs=interpolates,
        grad_outputs=torch.ones_like(scores),
        create_graph=True,
        retain_graph=True,
    )[0]
    gradients = gradients.reshape(gradients.size(0), -1)
    return LAMBDA * ((gradients.norm(2, dim=1) - 1) ** 2).mean()


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


def require(penalty_name: str, device: str) -> None:
    """Raises UnavailableError if the library has no compiled kernels for this contestant."""
    if penalty_name.startswith("wgan_fast") and "reference" not in penalty_name:
        reason = native.why_not("norm_penalty", device)
        if reason is not None:
            raise UnavailableError(reason)


#: The contestants in plain PyTorch. "wgan_fast" is what a user gets who changes nothing.
PENALTIES: dict[str, Penalty] = {
    "textbook": textbook,
    "tuned": tuned,
    "wgan_fast": ours("native", "pruned"),
    "wgan_fast, plain": ours("native", "plain"),
    "wgan_fast reference": ours("reference", "pruned"),
    "wgan_fast reference, plain": ours("reference", "plain"),
}
