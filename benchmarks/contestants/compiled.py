"""torch.compile over the whole step: forward, backward and double backward in one graph.

``torch.compile`` alone stops at a double backward. ``make_fx`` records the textbook with all its
derivatives as one graph of tensor operations, and Inductor compiles that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from ..problems.problem import Problem
from . import Build, Step, UnavailableError
from .critic_losses import CRITIC_LOSSES, USUAL
from .eager import Gradients
from .textbook import gradient_penalty

#: ``loss(critic, real, fake, epsilon, args)``
Loss = Callable[..., Tensor]


class _Critic:
    """A critic called with other weights; in the shape that the textbook calls it in."""

    def __init__(self, module: nn.Module, names: list[str], weights: list[Tensor]):
        self.module, self.weights = module, dict(zip(names, weights, strict=True))

    def __call__(self, *args: Any) -> Tensor:
        return functional_call(self.module, self.weights, args)


def recorded(
    critic: nn.Module, loss: Loss, real: Tensor, fake: Tensor, epsilon: Tensor, args: tuple
) -> Callable[..., Any]:
    """The loss and all gradients as one function ``(weights, real, fake, epsilon)``.

    In float32 it is compiled. In float64, where it is only compared, it runs as it was recorded:
    compiling takes many seconds, and what is timed is compared in its own dtype, too.
    """
    names = [name for name, _ in critic.named_parameters()]

    def step(weights: list[Tensor], real: Tensor, fake: Tensor, epsilon: Tensor) -> Any:
        weights = [weight.detach().requires_grad_() for weight in weights]
        value = loss(_Critic(critic, names, weights), real, fake, epsilon, args)
        grads = torch.autograd.grad(value, weights, materialize_grads=True)
        return [value.detach(), *grads]

    weights = [parameter.detach() for parameter in critic.parameters()]
    try:
        graph = make_fx(step)(weights, real, fake, epsilon)
    except (RuntimeError, NotImplementedError) as error:
        raise UnavailableError(f"make_fx cannot record this critic: {_first_line(error)}") from None
    if real.dtype == torch.float64:
        return graph
    if real.device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UnavailableError("Inductor needs a C++ compiler")
    torch._dynamo.reset()
    return torch.compile(graph, fullgraph=True, dynamic=False)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def penalty(problem: Problem) -> Build:
    """The textbook penalty and its gradients, compiled."""
    return loss(problem, gradient_penalty)


def loss(problem: Problem, how: Loss) -> Build:
    """A penalty or a whole loss of the critic and its gradients, compiled."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        here = problem.at_most(batch)
        critic, (real, fake) = here.critic(dtype), here.samples(dtype)
        weights = [parameter.detach() for parameter in critic.parameters()]
        drawn = torch.rand(len(real), dtype=dtype, device=real.device)
        run = recorded(critic, how, real, fake, drawn, here.arguments())

        @torch.no_grad()
        def step(epsilon: Tensor | None = None) -> Any:
            if epsilon is None:
                epsilon = torch.rand(len(real), dtype=dtype, device=real.device)
            return run(weights, real, fake, epsilon)

        return step

    return build


def gradients(critic: nn.Module, real: Tensor, fake: Tensor, args: tuple[Any, ...]) -> Gradients:
    """The critic's gradients by one compiled graph, handed to the optimiser of plain PyTorch."""
    parameters = list(critic.parameters())
    weights = [parameter.detach() for parameter in parameters]
    drawn = torch.rand(len(real), dtype=real.dtype, device=real.device)
    critic_loss = CRITIC_LOSSES[USUAL]["WGAN-GP"]
    run = recorded(critic, critic_loss, real, fake, drawn, args)

    @torch.no_grad()
    def compute(epsilon: Tensor | None) -> Tensor:
        if epsilon is None:
            epsilon = torch.rand(len(real), dtype=real.dtype, device=real.device)
        loss, *grads = run(weights, real, fake, epsilon)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        return loss

    return compute
