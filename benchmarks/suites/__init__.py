"""What is raced: each suite yields its cases, each case its contestants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import derivatives, growth, kernels, memory, overhead, penalty, step, steps
from .case import Case

#: The suites of the race, by their names: ``cases(quick, device)``.
SUITES: dict[str, Callable[[bool, str], Iterator[Case]]] = {
    "kernels": kernels.cases,
    "penalty": penalty.cases,
    "overhead": overhead.cases,
    "step": step.cases,
    "steps": steps.cases,
    "derivatives": derivatives.cases,
    "growth": growth.cases,
    "memory": memory.cases,
}
