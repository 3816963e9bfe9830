"""A gradient penalty in plain PyTorch, with any of the second-order tools and with none."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

Result = list[Tensor | None]


def unchanged(gradients: Tensor) -> Tensor:
    return gradients


def penalty_of(
    critic: Callable[[Tensor], Tensor],
    x: Tensor,
    prune: Callable[[Tensor], Tensor] = unchanged,
    context: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """The penalty at ``x``, which requires a gradient; the textbook's unless told otherwise."""
    torch.manual_seed(5)  # for dropout and the like: all draw the same
    with context():
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    gradients = prune(gradients).reshape(len(x), -1)
    return ((gradients.norm(dim=1) - 1) ** 2).mean()


def by_grad(penalty: Tensor, leaves: list[Tensor]) -> Result:
    """What torch.autograd.grad gives, None included; the graph stays."""
    return list(torch.autograd.grad(penalty, leaves, retain_graph=True, allow_unused=True))


def by_backward(penalty: Tensor, leaves: list[Tensor]) -> Result:
    """What backward() leaves in .grad, from None."""
    for leaf in leaves:
        leaf.grad = None
    penalty.backward()
    return [leaf.grad for leaf in leaves]


def leaves_of(critic: nn.Module, x: Tensor) -> list[Tensor]:
    return [x, *(p for p in critic.parameters() if p.requires_grad)]


def assert_identical(ours: Result, theirs: Result) -> None:
    """Bit for bit, and None where the other is None."""
    assert [g is None for g in ours] == [g is None for g in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            assert torch.equal(mine.nan_to_num(nan=7), other.nan_to_num(nan=7))


def assert_exact(ours: Result, theirs: Result, rtol: float = 1e-12) -> None:
    """Within ``rtol`` of the largest entry of each, and None where the other is None."""
    assert [g is None for g in ours] == [g is None for g in theirs]
    # A parameter whose gradient is rounding noise around zero is held to the others' scale.
    scale = max(g.abs().max().item() for g in theirs if g is not None)
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            limit = rtol * max(other.abs().max().item(), 1e-3 * scale)
            assert (mine - other).abs().max().item() <= limit


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A float64 critic; the activation after every layer but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).double()


def points(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def input_gradients(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of the scores with respect to ``x``, with a graph."""
    scores = critic(x)
    return torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)[0]
