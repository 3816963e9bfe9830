"""The library's own contestants as one graph: their losses go through ``wgan_fast.captured``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_fast import Captured, captured

from ..problems.problem import Problem
from . import Build, Step, StepWithColumns, eager
from .penalties import Penalty

OURS = "wgan_fast"


class CapturedLoss:
    """A loss of the library, captured for the critic that it is first called with.

    In float64, where it is only compared, it is replayed: compiling takes many seconds, and what is
    timed is compared in its own dtype, too. Mixing factors are drawn outside of the graph, so that
    it is the same graph that is compared and timed.
    """

    def __init__(self, how: Penalty, executor: str, dtype: torch.dtype) -> None:
        self._how = how
        self._executor = "replay" if dtype == torch.float64 else executor
        self._run: Captured | None = None

    def __call__(
        self,
        critic: nn.Module,
        real: Tensor,
        fake: Tensor,
        epsilon: Tensor | None,
        args: tuple[Any, ...],
    ) -> Tensor:
        if self._run is None:
            how = self._how
            self._run = captured(
                lambda real, fake, epsilon: how(critic, real, fake, epsilon, args),
                executor=self._executor,
            )
        if epsilon is None:
            epsilon = torch.rand(len(real), dtype=real.dtype, device=real.device)
        return self._run(real, fake, epsilon)

    def columns(self) -> dict[str, Any]:
        """For the result row: how long the capture took, and which executor it chose."""
        if self._run is None:
            return {}
        graphs = self._run.report().graphs
        return {
            "capture_s": sum(graph.capture_seconds for graph in graphs),
            "executor": graphs[-1].executor,
        }


def _build(how: Penalty, executor: str, of: Callable[[CapturedLoss], Build]) -> Build:
    """What ``of`` makes of a captured loss."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        loss = CapturedLoss(how, executor, dtype)
        return StepWithColumns(of(loss)(dtype, batch), loss.columns)

    return build


def loss(problem: Problem, how: Penalty, executor: str = "auto") -> Build:
    """A penalty or a whole loss of the critic, forward and backward."""
    return _build(how, executor, lambda whole: eager.loss(problem, OURS, whole))


def critic_step(problem: Problem, executor: str = "auto") -> Build:
    """The critic's step, its whole loss captured."""
    return _build(
        eager.critic_loss(OURS),
        executor,
        lambda whole: eager.critic_step(problem, OURS, eager.gradients_of(whole)),
    )


def iteration(
    problem: Problem, make_generator: Callable[[], nn.Module], executor: str = "auto"
) -> Build:
    """The training iteration, the critic's loss captured; the generator's step is as it was."""
    return _build(
        eager.critic_loss(OURS),
        executor,
        lambda whole: eager.iteration(
            problem, make_generator, OURS, eager.gradients_of(whole), freeze=True
        ),
    )
