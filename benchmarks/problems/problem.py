"""A critic with a batch of samples: what the penalty is computed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..flops import flops_of

#: The weight of WGAN-GP's penalty.
LAMBDA = 10.0
#: The weight of R1 and R2, which halve it.
GAMMA = 10.0


@dataclass(frozen=True)
class Problem:
    """A critic and the shape of its input.

    Args:
        name: the critic and its size, as the report prints it.
        make_critic: builds it.
        shape: the shape of one sample.
        batch: how many samples.
        classes: how many labels there are, for a critic that takes them as its second argument.
        smooth: whether its activations or normalisation layers have a second derivative.
        device: where it is raced.
    """

    name: str
    make_critic: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    classes: int = 0
    smooth: bool = False
    device: str = "cpu"

    def forward_flops(self) -> int:
        """The operations of one forward pass of the batch."""
        few = self.at_most(8)
        critic, (real, _) = few.critic(torch.float32), few.samples(torch.float32)
        return flops_of(lambda: critic(real, *few.arguments())) * self.batch // few.batch

    def least_flops(self) -> int:
        """The operations of the least work that gives an exact penalty.

        That is four forward passes, or six where activations have a second derivative.
        """
        return (6 if self.smooth else 4) * self.forward_flops()

    def at_most(self, batch: int | None) -> Problem:
        """The same problem with no more than ``batch`` samples."""
        return self if batch is None else replace(self, batch=min(self.batch, batch))

    def critic(self, dtype: torch.dtype) -> nn.Module:
        """The critic, with the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make_critic().to(self.device, dtype)

    def samples(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Real and fake samples, ``[batch, *shape]``, the same every time in every dtype."""
        generator = torch.Generator().manual_seed(1)
        pair = torch.randn(2, self.batch, *self.shape, generator=generator)
        real, fake = pair.to(self.device, dtype)
        return real, fake

    def arguments(self) -> tuple[Any, ...]:
        """What the critic takes besides the samples: labels, or nothing."""
        if not self.classes:
            return ()
        return (torch.arange(self.batch, device=self.device) % self.classes,)
