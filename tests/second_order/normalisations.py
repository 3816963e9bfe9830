"""Every kind of normalisation, and a small critic made of each."""

from __future__ import annotations

import pytest
from torch import nn

from tests.second_order.twice import points
from wgan_fast.ops import _native as native
from wgan_fast.second_order._layer import Replacing
from wgan_fast.second_order.layers import NORMALISATION

needs_kernels = pytest.mark.skipif(
    native.failure is not None, reason=f"no kernels: {native.failure}"
)

#: By name: the layer for ``[B, 6, 4, 3]``.
LAYERS = {
    "layer": lambda: nn.LayerNorm([6, 4, 3]),
    "layer, last dimension": lambda: nn.LayerNorm(3, eps=1e-2),
    "layer without bias": lambda: nn.LayerNorm([4, 3], bias=False),
    "layer without weights": lambda: nn.LayerNorm([6, 4, 3], elementwise_affine=False),
    "group": lambda: nn.GroupNorm(2, 6),
    "one group": lambda: nn.GroupNorm(1, 6, eps=1e-2),
    "a group each": lambda: nn.GroupNorm(6, 6),
    "group without weights": lambda: nn.GroupNorm(3, 6, affine=False),
    "instance": lambda: nn.InstanceNorm2d(6, affine=True),
    "instance without weights": lambda: nn.InstanceNorm2d(6),
    "rms": lambda: nn.RMSNorm([6, 4, 3]),
    "rms, last dimension": lambda: nn.RMSNorm(3, eps=1e-2),
    "rms without weights": lambda: nn.RMSNorm([4, 3], elementwise_affine=False),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def efficient():
    """The context under test: layers of any size."""
    return Replacing([NORMALISATION], always=True)


def is_replaced(output):
    return type(output.grad_fn).__name__ == "_NormaliseBackward"


def layer_of(name):
    """The layer in float64, with weights that are no ones and zeros."""
    layer = LAYERS[name]().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def critic_of(name):
    """Two of the layers, each before something smooth."""
    critic = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), layer_of(name), nn.Tanh(),
        nn.Conv2d(6, 6, 3, padding=1), layer_of(name), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(72, 1),
    ).double()  # fmt: skip
    return critic, points(3, 2, 4, 3)
