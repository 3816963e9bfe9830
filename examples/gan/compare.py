"""fast_gradient_penalty beside the textbook penalty: time and gradients on a given critic."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from wgan_fast import fast_gradient_penalty

from .methods import Method, critic_step

Penalty = Callable[..., Tensor]


def textbook_penalty(
    critic: nn.Module,
    real: Tensor,
    fake: Tensor,
    *,
    lambda_gp: float = 10.0,
    epsilon: Tensor | None = None,
) -> Tensor:
    """The penalty as every repository writes it."""
    if epsilon is None:
        epsilon = torch.rand(len(real), device=real.device, dtype=real.dtype)
    epsilon = epsilon.view(-1, *[1] * (real.dim() - 1))
    interpolates = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    (gradients,) = torch.autograd.grad(critic(interpolates).sum(), interpolates, create_graph=True)
    return lambda_gp * ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


@dataclass
class Comparison:
    fast_ms: float  # median time of a critic step
    textbook_ms: float
    difference: float  # largest relative difference of a parameter's gradient, float64

    def __str__(self) -> str:
        ratio = self.textbook_ms / self.fast_ms
        verdict = f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x slower"
        return (
            f"time per critic step (median): fast_gradient_penalty {self.fast_ms:.2f} ms,"
            f" textbook {self.textbook_ms:.2f} ms ({verdict})\n"
            "largest relative difference of their gradients in float64:"
            f" {self.difference:.1e}"
        )


def compare(
    critic: nn.Module, real: Tensor, fake: Tensor, lambda_gp: float, rounds: int = 50
) -> Comparison:
    """Both penalties on copies of the critic, which itself is left as it is."""
    steps = [
        step_with(copy.deepcopy(critic), real, fake, penalty, lambda_gp)
        for penalty in (fast_gradient_penalty, textbook_penalty)
    ]
    fast, textbook = interleaved_medians(steps, rounds, real.device)
    difference = gradient_difference(critic, real, fake, lambda_gp)
    return Comparison(1e3 * fast, 1e3 * textbook, difference)


def step_with(
    critic: nn.Module, real: Tensor, fake: Tensor, penalty: Penalty, lambda_gp: float
) -> Callable[[], object]:
    """A step of the critic as in training, with Adam, whose step size 0 moves nothing."""

    def weighted(critic: nn.Module, real: Tensor, fake: Tensor, weight: float) -> Tensor:
        return penalty(critic, real, fake, lambda_gp=weight)

    method = Method("WGAN-GP", other_penalty=weighted, weight=lambda_gp)
    optimizer = method.optimizer(critic.parameters(), learning_rate=0.0)
    return partial(critic_step, critic, optimizer, method, real, fake)


def interleaved_medians(
    steps: list[Callable[[], object]], rounds: int, device: torch.device
) -> list[float]:
    """Median seconds of each step; taken in turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step()  # warm up
    for _ in range(rounds):
        for step, taken in zip(steps, times, strict=True):
            synchronize(device)
            began = time.perf_counter()
            step()
            synchronize(device)
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gradient_difference(critic: nn.Module, real: Tensor, fake: Tensor, lambda_gp: float) -> float:
    """max over the parameters of |fast - textbook| / |textbook|, in float64, same interpolates."""
    critic = copy.deepcopy(critic).cpu().double()
    real, fake = real.cpu().double(), fake.cpu().double()
    epsilon = torch.rand(len(real), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fast, textbook = (
        torch.autograd.grad(
            penalty(critic, real, fake, lambda_gp=lambda_gp, epsilon=epsilon),
            list(critic.parameters()),
            materialize_grads=True,  # the penalty does not depend on the last bias
        )
        for penalty in (fast_gradient_penalty, textbook_penalty)
    )
    return max(relative_difference(a, b) for a, b in zip(fast, textbook, strict=True))


def relative_difference(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, and |a - b| where b is zero: there, a must be zero as well."""
    distance, size = (a - b).norm().item(), b.norm().item()
    return distance / size if size else distance
