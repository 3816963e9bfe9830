"""torch.compile over the whole step: forward, backward and double backward in one graph.

``torch.compile`` alone stops at a double backward. ``make_fx`` records the textbook with all its
derivatives as one graph of tensor operations, and Inductor compiles that. From 2.13 on Dynamo
records ``torch.autograd.grad``, too, if a setting is on.
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
from .eager import Gradients, MakeGradients
from .textbook import gradient_penalty

#: ``loss(critic, real, fake, epsilon, args)``
Loss = Callable[..., Tensor]

#: The loss and all gradients, as one function ``(real, fake, epsilon)``.
Run = Callable[[Tensor, Tensor, Tensor], "list[Tensor]"]

#: Makes it from critic, loss, real, fake, epsilon, args. In float32 it is compiled. In float64,
#: where it is only compared, it runs as it was recorded: compiling takes many seconds, and what is
#: timed is compared in its own dtype, too.
Record = Callable[..., Run]


class _Critic:
    """A critic called with other weights; in the shape that the textbook calls it in."""

    def __init__(self, module: nn.Module, names: list[str], weights: list[Tensor]):
        self.module, self.weights = module, dict(zip(names, weights, strict=True))

    def __call__(self, *args: Any) -> Tensor:
        return functional_call(self.module, self.weights, args)


def recorded(
    critic: nn.Module, loss: Loss, real: Tensor, fake: Tensor, epsilon: Tensor, args: tuple
) -> Run:
    """By ``make_fx``."""
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
    run: Callable[..., Any] = graph
    if real.dtype != torch.float64:
        _require_compiler(real)
        run = torch.compile(graph, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def without_autograd(real: Tensor, fake: Tensor, epsilon: Tensor) -> list[Tensor]:
        return run(weights, real, fake, epsilon)

    return without_autograd


def traced(
    critic: nn.Module, loss: Loss, real: Tensor, fake: Tensor, epsilon: Tensor, args: tuple
) -> Run:
    """By Dynamo, with its setting ``trace_autograd_ops``."""
    if torch.__version__ < "2.13":
        raise UnavailableError("Dynamo records gradients from PyTorch 2.13 on")
    parameters = list(critic.parameters())

    def step(real: Tensor, fake: Tensor, epsilon: Tensor) -> list[Tensor]:
        value = loss(critic, real, fake, epsilon, args)
        grads = torch.autograd.grad(value, parameters, allow_unused=True)
        return [value.detach(), *grads]

    backend = "eager"
    if real.dtype != torch.float64:
        _require_compiler(real)
        backend = "inductor"
    run = torch.compile(step, fullgraph=True, dynamic=False, backend=backend)
    try:
        with torch._dynamo.config.patch(trace_autograd_ops=True):
            run(real, fake, epsilon)
    except torch._dynamo.exc.Unsupported as error:
        raise UnavailableError(f"Dynamo cannot record this: {_first_line(error)}") from None
    return run


def _require_compiler(tensor: Tensor) -> None:
    if tensor.device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UnavailableError("Inductor needs a C++ compiler")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def penalty(problem: Problem, record: Record = recorded) -> Build:
    """The textbook penalty and its gradients, compiled."""
    return loss(problem, gradient_penalty, record)


def loss(problem: Problem, how: Loss, record: Record = recorded) -> Build:
    """A penalty or a whole loss of the critic and its gradients, compiled."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        here = problem.at_most(batch)
        critic, (real, fake) = here.critic(dtype), here.samples(dtype)
        drawn = torch.rand(len(real), dtype=dtype, device=real.device)
        run = record(critic, how, real, fake, drawn, here.arguments())

        def step(epsilon: Tensor | None = None) -> Any:
            if epsilon is None:
                epsilon = torch.rand(len(real), dtype=dtype, device=real.device)
            return run(real, fake, epsilon)

        return step

    return build


def gradients(record: Record = recorded) -> MakeGradients:
    """The critic's gradients by one compiled graph, handed to the optimiser of plain PyTorch."""

    def make(critic: nn.Module, real: Tensor, fake: Tensor, args: tuple[Any, ...]) -> Gradients:
        parameters = list(critic.parameters())
        drawn = torch.rand(len(real), dtype=real.dtype, device=real.device)
        run = record(critic, CRITIC_LOSSES[USUAL]["WGAN-GP"], real, fake, drawn, args)

        def compute(epsilon: Tensor | None) -> Tensor:
            if epsilon is None:
                epsilon = torch.rand(len(real), dtype=real.dtype, device=real.device)
            loss, *grads = run(real, fake, epsilon)
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad
            return loss

        return compute

    return make
