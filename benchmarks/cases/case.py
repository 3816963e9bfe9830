"""One comparison: several ways to compute the same thing on the same input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """Contestants that must agree before they are timed.

    Args:
        suite, name: what is compared, and on what.
        contestants: each returns its result, a tensor or a tuple of tensors.
        baseline: the contestant that ratios are taken against.
        details: columns of the result rows (dtype, phase, shape, backend, ...).
        traffic_bytes: the least number of bytes the work must read and write; 0 if unknown.
        tolerance: the largest relative difference between the contestants' results.
    """

    suite: str
    name: str
    contestants: dict[str, Callable[[], Any]]
    baseline: str
    details: dict[str, Any] = field(default_factory=dict)
    traffic_bytes: int = 0
    tolerance: float = 1e-4
