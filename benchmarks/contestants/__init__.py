"""Who races: ways to compute the same penalty, each made for a problem and a dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: One call of a contestant: the work and its results, a loss and gradients. With mixing factors it
#: computes at these, for comparison; without, it draws its own, as it does when it is timed.
Step = Callable[[torch.Tensor | None], Any]

#: Sets a contestant up in a dtype, for at most this many samples (None: all of them), or raises
#: UnavailableError.
Build = Callable[[torch.dtype, int | None], Step]


class UnavailableError(Exception):
    """A contestant cannot take part here; the message is the reason that the report prints."""


#: Plain PyTorch recorded by ``make_fx``, or by Dynamo with its gradients, and compiled by Inductor.
COMPILE, TRACED = "torch.compile", "torch.compile, traced"
#: The library's own contestant as one graph, run by the fastest executor, or without compiling.
CAPTURED, REPLAYED = "captured", "captured, replay"

#: Contestants that call no operators one by one, but a compiled whole: nothing of them is counted.
COMPILED = (COMPILE, TRACED, CAPTURED, "JAX jit")

#: Whose compiler is Inductor; no quick race waits for it.
BY_INDUCTOR = (COMPILE, TRACED, CAPTURED)
TOO_LONG = "compiling takes too long for a quick race"


class StepWithColumns:
    """A step that knows more about itself than its results.

    Args:
        step: it.
        columns: tells what, by the names of the columns of the result rows.
    """

    def __init__(self, step: Step, columns: Callable[[], dict[str, Any]]) -> None:
        self._step = step
        self.columns = columns

    def __call__(self, epsilon: torch.Tensor | None) -> Any:
        return self._step(epsilon)


def columns_of(step: Step) -> dict[str, Any]:
    """What a step that has been called tells about itself."""
    return step.columns() if isinstance(step, StepWithColumns) else {}


def absent(reason: str) -> Build:
    """A contestant that does not take part, for this reason."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        raise UnavailableError(reason)

    return build
