"""Three steps of Adam with a penalty, the same in one process and in several."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from tests.comparing import assert_close
from tests.textbook import textbook_gradient_penalty
from tests.textbook_steps import textbook_critic_step
from wgan_fast import FiniteDifference, critic_loss, fast_gradient_penalty
from wgan_fast.second_order import without_thresholds

#: Of the whole batch, of which each process has an equal part.
BATCH = 16
STEPS = 3
#: The largest relative difference to one process, in float64: sums of another order differ by some
#: 1e-16, which Adam divides by gradients of 1e-6 of the largest, at the smallest.
CLOSE = 1e-10


def _mlp(first: nn.Module, second: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 32), first, nn.Linear(32, 32), second, nn.Linear(32, 1))


class WithUnused(nn.Sequential):
    """A critic with a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Linear(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self[2](self[1](self[0](x)))


CRITICS: dict[str, Callable[[], nn.Module]] = {
    "piecewise linear": lambda: _mlp(nn.LeakyReLU(0.2), nn.ReLU()),
    "smooth": lambda: _mlp(nn.Softplus(), nn.Tanh()),
    "unused layer": WithUnused,
    "spectral norm": lambda: nn.Sequential(
        spectral_norm(nn.Linear(6, 32)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(32, 1))
    ),
    "convolutions": lambda: nn.Sequential(
        # A bias would have no gradient but noise, by which Adam would go.
        nn.Conv2d(2, 8, 3, 2, 1, bias=False), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Flatten(), nn.Linear(64, 1),
    ),
}  # fmt: skip


def critic_of(kind: str) -> nn.Module:
    """The same weights in every process."""
    torch.manual_seed(0)
    return CRITICS[kind]().double()


def samples(kind: str, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
    """Some rows of a step's real and fake samples and mixing factors."""
    generator = torch.Generator().manual_seed(step)
    shape = (2, 8, 8) if kind == "convolutions" else (6,)
    draw = functools.partial(torch.randn, BATCH, *shape, generator=generator, dtype=torch.float64)
    factors = torch.rand(BATCH, generator=generator, dtype=torch.float64)
    real, fake = draw(), 1.5 * draw() + 0.3
    return real[rows], fake[rows], factors[rows]


def my_rows() -> slice:
    """The rows of this process."""
    size = BATCH // dist.get_world_size()
    return slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)


#: In which order the parts of a critic's loss are computed.
ORDERS = ("penalty last", "penalty first", "penalty between", "penalty alone")
EVERY_ORDER = (*ORDERS, "critic_loss")
_WEIGHTS: Any = {"gp": 10.0, "r1": 0.5, "r2": 0.7}


def loss_of(
    order: str,
    penalty: Callable[..., Tensor],
    critic: Any,
    real: Tensor,
    fake: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """The critic's loss, with its parts in some order."""
    penalise = functools.partial(penalty, critic, real, fake, epsilon=epsilon)
    if order == "penalty alone":
        return penalise()
    if order == "critic_loss":
        if penalty is textbook_gradient_penalty:
            return textbook_critic_step(critic, real, fake, epsilon=epsilon, **_WEIGHTS)[0]
        return critic_loss(critic, real, fake, epsilon=epsilon, **_WEIGHTS)
    first = penalise() if order == "penalty first" else 0.0
    of_fake = critic(fake).mean()
    between = penalise() if order == "penalty between" else 0.0
    scores = of_fake - critic(real).mean()
    return scores + first + between + (penalise() if order == "penalty last" else 0.0)


Backward = Callable[[Callable[..., Tensor], Tensor, Tensor, Tensor], None]


def backward(loss: Callable[..., Tensor], *batch: Tensor) -> None:
    """The usual one."""
    loss(*batch).backward()


def trained(
    critic: Any,
    kind: str,
    order: str,
    penalty: Callable[..., Tensor] = textbook_gradient_penalty,
    rows: slice = slice(None),
    *,
    differentiate: Backward = backward,
    before_step: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """The weights of a critic after some steps of Adam.

    Args:
        critic: as it is called; perhaps wrapped.
        kind, rows: of the samples.
        order: of the loss.
        penalty: the textbook's, or the library's with some keywords.
        differentiate: the backward pass of the loss of a batch.
        before_step: what an engine asks for before each step of the optimiser.
    """
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.9), foreach=False)
    loss = functools.partial(loss_of, order, penalty, critic)
    for step in range(STEPS):
        optimizer.zero_grad()
        differentiate(loss, *samples(kind, step, rows))
        before_step()
        optimizer.step()
    return [whole(p) for p in critic.parameters()]


def whole(weight: Tensor) -> Tensor:
    """A weight, gathered if it is sharded."""
    weight = weight.detach()
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def trained_here(
    critic: Any,
    kind: str,
    order: str,
    penalty: Callable[..., Tensor] = fast_gradient_penalty,
    rows: slice | None = None,
    **how: Any,
) -> list[Tensor]:
    """The same with the library, and this process's part of the batch unless told otherwise.

    Small critics are pruned and their layers replaced as if they were large.
    """
    with without_thresholds():
        return trained(critic, kind, order, penalty, my_rows() if rows is None else rows, **how)


def mean_of_penalties(critic: Any, *samples: Tensor, **keywords: Any) -> Tensor:
    """The penalty by way of each sample's."""
    return fast_gradient_penalty(critic, *samples, reduction="none", **keywords).mean()


#: The step is larger than the default, so that rounding is not divided by a smaller one.
BY_DIFFERENCES = functools.partial(
    fast_gradient_penalty, double_backward=FiniteDifference(step=1e-4)
)


@functools.cache
def expected(kind: str, order: str) -> list[Tensor]:
    """The weights after training with the textbook, in one process."""
    return trained(critic_of(kind), kind, order)


def assert_as_in_one_process(results: list[list[Tensor]], kind: str, order: str) -> None:
    for weights in results:
        for ours, theirs in zip(weights, expected(kind, order), strict=True):
            assert_close(ours, theirs, CLOSE)
