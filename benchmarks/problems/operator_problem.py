"""An operator in a small critic of its own, and what a gradient penalty of it must cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wgan_fast.second_order import twice_differentiable_backends

from ..flops import FlopCounter

Layer = nn.Module | Callable[[Tensor], Tensor]

#: Linear piece by piece: the second derivative with respect to the operator's input is zero.
PIECEWISE = "piecewise linear"
#: It is not zero, and is needed in all layers before the operator.
SMOOTH = "smooth"

#: What a layer before the operator costs at least, in forward passes. Forward, gradient with
#: respect to the input, tangent, gradient with respect to the weights; if there is a second
#: derivative, two more to take it to the input and to the weights.
LEAST = {PIECEWISE: 4, SMOOTH: 6}
#: A product of two activations: each of the derivatives is made of two products, not of one.
LEAST_BILINEAR = 9
#: PyTorch has no second derivative.
IMPOSSIBLE = "not in PyTorch"


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class First(nn.Module):
    """The first of a layer's results, as of recurrent networks."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@dataclass(frozen=True)
class OpCase:
    """An operator, twice, between layers whose operations can be counted.

    Args:
        group: the heading it belongs under.
        name: how people call it.
        make: makes it.
        kind: one of the kinds above.
        dimensions: those of the image that it works on; 0 for sequences ``[B, T, C]``.
    """

    group: str
    name: str
    make: Callable[[], Layer]
    kind: str
    dimensions: int = 2

    def samples(self, batch: int = 4) -> Tensor:
        shape = {0: (12, 32), 1: (3, 64), 2: (3, 32, 32), 3: (3, 16, 16, 16)}[self.dimensions]
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return torch.randn(batch, *shape, dtype=torch.float64)

    def critic(self) -> nn.Sequential:
        """Layer, operator, layer, operator, score: the same weights every time, float64."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            critic = nn.Sequential(
                self._layer(), self._operator(), self._layer(), self._operator(),
                nn.Flatten(), nn.LazyLinear(1),
            ).double()  # fmt: skip
            critic(self.samples())
        return critic

    def least_flops(self) -> int:
        """Of the penalty and its gradient, if no operation is wasted.

        The least for every layer alike. It could be two forward passes less for the last layer,
        and one less for the first: what is behind the last operator with a second derivative needs
        none, and nobody asks for the gradient with respect to the interpolates.
        """
        critic, samples = self.critic(), self.samples()
        with FlopCounter() as forward, twice_differentiable_backends():
            critic(samples)
        bilinear = forward.by_operator["bmm"]
        return LEAST[self.kind] * (forward.flops - bilinear) + LEAST_BILINEAR * bilinear

    def _operator(self) -> nn.Module:
        operator = self.make()
        return operator if isinstance(operator, nn.Module) else Apply(operator)

    def _layer(self) -> nn.Module:
        if self.dimensions == 0:
            return nn.LazyLinear(32)
        kind = (nn.LazyConv1d, nn.LazyConv2d, nn.LazyConv3d)[self.dimensions - 1]
        return kind(16, kernel_size=3, stride=2, padding=1)
