"""The suites of the race, by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .cases import growth, kernels, memory, penalty, step
from .cases.case import Case

#: ``cases(quick, device)``
SUITES: dict[str, Callable[[bool, str], Iterator[Case]]] = {
    "kernels": kernels.cases,
    "penalty": penalty.cases,
    "step": step.cases,
    "growth": growth.cases,
    "memory": memory.cases,
}
