"""Losses of a network's derivatives, in plain PyTorch and with ``efficient_double_backward``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import efficient_double_backward

from .critic_losses import USUAL, Loss

#: Of what a network returned, and how to differentiate it.
Call = Callable[[nn.Module, Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]

#: Of the Burgers equation, as in Raissi, Perdikaris and Karniadakis, "Physics informed deep
#: learning", arXiv 1711.10561.
VISCOSITY = 0.01 / torch.pi


def _plain(network: nn.Module, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    return network(points), lambda gradients: gradients


def _efficient(network: nn.Module, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    with efficient_double_backward(network) as double_backward:
        values = network(points)
    return values, double_backward.prune


def _gradient(values: Tensor, points: Tensor) -> Tensor:
    return torch.autograd.grad(values.sum(), points, create_graph=True)[0]


def burgers(call: Call) -> Loss:
    """The residual of u_t + u u_x = nu u_xx at points (t, x), ``[B, 2]``."""

    def loss(network: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
        points = real.detach().requires_grad_()
        values, prune = call(network, points)
        first_t, first_x = prune(_gradient(values, points)).unbind(1)
        second_x = _gradient(first_x, points)[:, 1]
        residual = first_t + values[:, 0] * first_x - VISCOSITY * second_x
        return residual.square().mean()

    return loss


def force_matching(call: Call) -> Loss:
    """Energies and forces of molecules at positions ``[B, N, 3]`` against given ones."""

    def loss(network: Any, real: Tensor, fake: Tensor, epsilon: Any, args: tuple) -> Tensor:
        positions = real.detach().requires_grad_()
        energies, prune = call(network, positions)
        forces = -prune(_gradient(energies, positions))
        wrong_energies = energies - fake[:, 0, 0]
        return wrong_energies.square().mean() + (forces - fake).square().sum((1, 2)).mean()

    return loss


#: By contestant, then by what the loss is.
DERIVATIVES: dict[str, dict[str, Loss]] = {
    name: {"Burgers": burgers(call), "force matching": force_matching(call)}
    for name, call in ((USUAL, _plain), ("wgan_fast", _efficient))
}
