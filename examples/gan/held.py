"""A critic alone: the generator is held, and so both distributions stay what they are."""

from __future__ import annotations

import copy
from typing import NamedTuple

import ot
import torch
from torch import Tensor, nn

from wgan_fast import gradient_norms

ITERATIONS = 10**7  # of the network simplex at most, which needs far fewer


def with_noise(real: Tensor) -> Tensor:
    """What stands for generated samples: real ones plus unit Gaussian noise."""
    return real + torch.randn_like(real)


class Dual(NamedTuple):
    """What a critic makes of two samples."""

    gain: float  # mean D(real) - mean D(fake)
    slope: float  # the largest that was found: its Lipschitz constant is no less
    median_slope: float  # of the gradient's norms

    def share(self, distance: float) -> float:
        """Of the distance, by the critic divided by its slope, which is 1-Lipschitz there."""
        return self.gain / self.slope / distance


def dual(critic: nn.Module, real: Tensor, fake: Tensor) -> Dual:
    """The critic's gain and its largest slope on two samples, [n, 2] each.

    The slope is the largest of the gradient's norms at the samples and between them (n points), and
    of |D(x) - D(y)| / |x - y| for all real x and fake y. With the latter the gain divided by the
    slope cannot exceed the exact distance of the same samples: it is the mean of D(x) - D(y) over
    the pairs of the optimal plan, and the distance is the mean of |x - y|.
    """
    critic, real, fake = in_double(critic), real.double(), fake.double()
    with torch.no_grad():
        of_real, of_fake = critic(real), critic(fake)  # [n, 1]
    quotients = (of_real - of_fake.T).abs() / torch.cdist(real, fake)
    norms = gradient_norms(critic, real, fake, generator=torch.Generator().manual_seed(0))
    slope = max(slopes.max().item() for slopes in (*norms, quotients))
    gain = (of_real.mean() - of_fake.mean()).item()
    return Dual(gain, slope, torch.cat(norms).median().item())


def in_double(critic: nn.Module) -> nn.Module:
    """A copy to look at: differences of close points would be lost in single precision."""
    return copy.deepcopy(critic).double().eval()


def exact_distance(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-1 distance of two samples, [n, 2] each, by exact transport."""
    costs = torch.cdist(a.double(), b.double()).numpy()
    return float(ot.emd2([], [], costs, numItermax=ITERATIONS))


class ExactCritic(nn.Module):
    """An optimal critic of two samples, [n, 2] each, from the dual of exact transport.

    The dual gives values at the real samples; elsewhere it is the lowest function with these values
    and slopes of at most 1. Of these two samples it reaches all of the distance.
    """

    def __init__(self, real: Tensor, fake: Tensor):
        super().__init__()
        costs = torch.cdist(real.double(), fake.double()).numpy()
        _, log = ot.emd2([], [], costs, numItermax=ITERATIONS, log=True)
        self.real, self.values = real.double(), torch.as_tensor(log["u"])

    def forward(self, x: Tensor) -> Tensor:
        """[n, 2] to [n, 1], in double precision."""
        return (self.values - torch.cdist(x.double(), self.real)).amax(1, keepdim=True)
