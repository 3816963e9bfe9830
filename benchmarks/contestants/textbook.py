"""The textbook: the gradient penalty as the popular repositories write it, and its two halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..problems.problem import LAMBDA


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Points between the samples, at factors that are broadcast, ``[B, 1, ...]``."""
    return alpha * real + (1 - alpha) * fake


def norm_penalty(gradients: Tensor) -> Tensor:
    """From input gradients ``[B, D]`` to the penalty, with the norm written out.

    As many write it as call ``Tensor.norm``, which is the best that plain PyTorch has for it.
    """
    return LAMBDA * ((torch.sqrt(torch.sum(gradients**2, dim=1)) - 1) ** 2).mean()


def silu_gradients(x: Tensor, grad: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """Both gradients of SiLU's backward pass, operator by operator."""
    s = torch.sigmoid(x)
    slope = s * (1 - s)
    return tangent * (s + x * slope), tangent * grad * (slope * (2 + x * (1 - 2 * s)))


def penalty_at(
    critic: Callable[..., Tensor], interpolates: Tensor, args: tuple[Any, ...] = ()
) -> Tensor:
    """The penalty at points ``[B, *]`` that require a gradient."""
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


def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor,
    fake: Tensor,
    epsilon: Tensor | None,
    args: tuple[Any, ...],
) -> Tensor:
    """The whole of it; ``epsilon``, ``[B]``, is drawn if it is None."""
    if epsilon is None:
        epsilon = torch.rand(real.size(0), dtype=real.dtype, device=real.device)
    alpha = epsilon.view(-1, *[1] * (real.dim() - 1))
    interpolates = interpolate(real, fake, alpha).detach().requires_grad_(True)
    return penalty_at(critic, interpolates, args)
