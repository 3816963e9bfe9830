"""One step of a critic that is one function, by the library and as loops write it, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.comparing import assert_close, assert_same_gradients, gradients_of
from wgan_fast import critic_loss
from wgan_fast.second_order import without_thresholds

#: As many as there are channels, heads or positions in the functions that are compared: what takes
#: one dimension for another finds no shapes that do not fit.
BATCH = 4


class Net(nn.Module):
    """Scores ``gain * function(self, x) + <rest, x>``, of parameters for whatever a function needs.

    With a gain of zero the function contributes nothing to scores and input gradients, as a last
    layer that starts at zero: that it was understood is not proved then by its value, and the
    gradient of the gain is wrong if it was not.
    """

    def __init__(self, function: Callable[[Net, Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.function = function
        self.gain = nn.Parameter(torch.ones(()))
        self.rest = nn.Parameter(torch.randn(size))
        self.w1, self.b1 = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(6))
        self.w2, self.b2 = nn.Parameter(torch.randn(1, 6)), nn.Parameter(torch.randn(1))
        self.square, self.b4 = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))
        self.wide, self.six = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6))
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3) / 3)
        self.register_buffer("buffer", torch.randn(6))

    def hidden(self, x: Tensor) -> Tensor:
        """``[B, 5]`` to ``[B, 6]``."""
        return nn.functional.leaky_relu(nn.functional.linear(x, self.w1, self.b1), 0.2)

    def scores(self, hidden: Tensor) -> Tensor:
        """``[B, 6]`` to ``[B, 1]``."""
        return nn.functional.linear(hidden, self.w2, self.b2)

    def image(self, x: Tensor) -> Tensor:
        """``[B, 3, h, w]`` to ``[B, 4, h - 2, w - 2]``."""
        return nn.functional.conv2d(x, self.kernel, self.b4)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.function(self, x)
        rest = x.reshape(len(x), -1) @ self.rest
        return self.gain * scores + rest.reshape(scores.shape)


def weighed(real: Tensor, fake: Tensor) -> Tensor:
    """A loss in which each sample has a weight of its own: who mixes them up gets another one."""
    weights = torch.linspace(-1, 2, len(real), dtype=real.dtype)
    real, fake = real.reshape(len(real), -1).sum(1), fake.reshape(len(fake), -1).sum(1)
    return (weights * real).sum() + (weights.flip(0) ** 2 * fake).sum()


def usual_step(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """The weighed loss with R1 of weight 1 and R2 of weight 2."""
    real, fake = (x.detach().clone().requires_grad_() for x in (real, fake))
    real_scores, fake_scores = critic(real), critic(fake)
    total = weighed(real_scores, fake_scores)
    for scores, x, weight in ((real_scores, real, 1.0), (fake_scores, fake, 2.0)):
        (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        total = total + weight / 2 * (gradients.reshape(len(x), -1) ** 2).sum(1).mean()
    return total


@dataclass(frozen=True)
class Kind:
    """A kind of critic, and how its scores are to be differentiated.

    Args:
        function: of the net and its input, ``[B, *]`` to scores.
        shape: of one sample.
        way: how the way begins that must be taken, after "shared forward: " if it is not
            "shared backward".
        batch: how many samples there are.
    """

    function: Callable[[Net, Tensor], Tensor]
    shape: tuple[int, ...] = (5,)
    way: str = "shared backward"
    batch: int = BATCH

    def net(self, gain: float = 1.0) -> Net:
        torch.manual_seed(0)
        net = Net(self.function, max(1, torch.Size(self.shape).numel())).double()
        net.gain.data.fill_(gain)
        return net

    def samples(self) -> tuple[Tensor, Tensor]:
        real, fake = torch.randn(2, self.batch, *self.shape, dtype=torch.float64)
        return real, fake


def assert_step(critic: nn.Module, real: Tensor, fake: Tensor) -> set[str]:
    """The same loss and gradients by the library as by the usual code; returns the ways taken."""
    theirs = copy.deepcopy(critic)
    torch.manual_seed(1)
    expected = usual_step(theirs, real, fake)
    wanted = gradients_of(expected, theirs)
    torch.manual_seed(1)
    with without_thresholds():
        total, parts = critic_loss(
            critic, real, fake, loss=weighed, r1=1.0, r2=2.0, return_parts=True
        )
    assert_close(total, expected)
    assert_same_gradients(gradients_of(total, critic), wanted)
    return set(parts.ways.values())


def assert_kind(kind: Kind, gain: float) -> None:
    """A kind of critic takes the way that it must, with the usual numbers."""
    ways = assert_step(kind.net(gain), *kind.samples())
    way = kind.way if kind.way == "shared backward" else f"shared forward: {kind.way}"
    assert all(each.startswith(way) for each in ways), ways
