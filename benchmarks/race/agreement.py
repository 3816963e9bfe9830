"""Contestants compared before they are timed: who differs from the baseline does not race."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contestants import Step, UnavailableError
from ..suites.case import Case

#: A loss and gradients; None is a gradient of zeros.
Results = list[Tensor | None]

#: Samples that are compared in float64.
FEW = 8


@dataclass
class Entered:
    """Who races: set up, compared and warm; and why the others do not."""

    steps: dict[str, Step] = field(default_factory=dict)
    first_call: dict[str, float] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def enter(case: Case) -> Entered:
    """Sets every contestant up and compares loss and gradients, in float64 on a few samples and in
    the dtype that is timed on all of them."""
    torch._dynamo.reset()  # what was compiled for the case before
    entered = Entered()
    expected: list[Results] = []
    for name, build in case.contestants.items():
        try:
            few = flat(build(torch.float64, FEW)(factors(case, torch.float64)[:FEW]))
            began = time.perf_counter()
            step = build(case.dtype, None)
            results = step(factors(case, case.dtype))
            first_call = time.perf_counter() - began
            expected = expected or [few, flat(results)]
            difference = disagreement(case, few, expected[0], case.tolerance, "float64")
            difference = difference or disagreement(
                case, flat(results), expected[1], case.timed_tolerance, str(case.dtype)
            )
        except UnavailableError as reason:
            entered.unavailable[name] = str(reason)
        except Exception as error:  # a contestant that breaks is a result, too
            first_line = str(error).strip().partition("\n")[0]
            entered.failed[name] = f"{type(error).__name__}: {first_line}"
        else:
            if difference is None:
                entered.steps[name], entered.first_call[name] = step, first_call
            else:
                entered.failed[name] = difference
    return entered


def factors(case: Case, dtype: torch.dtype) -> Tensor:
    """The mixing factors that results are compared at, ``[batch]``, in the dtype of the kernels."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.rand(case.batch, generator=generator, dtype=torch.float64)
    return drawn.to(torch.float64 if dtype == torch.float64 else torch.float32)


def flat(results: Any) -> Results:
    """The results as tensors on the CPU."""
    return [
        None
        if part is None
        else part.detach().cpu()
        if isinstance(part, Tensor)
        else torch.from_numpy(np.array(part))
        for part in results
    ]


def disagreement(
    case: Case, results: Results, expected: Results, tolerance: float, dtype: str
) -> str | None:
    """What differs by more than ``tolerance``: the first result (the loss), or all the others
    (the gradients) taken together, so that rounding where a gradient vanishes is not held against
    it."""
    parts = {"the loss": slice(0, 1), "the gradients": slice(1, None)}
    if len(results) == len(expected) == 1:
        parts = {"the result": slice(None)}
    if len(results) != len(expected):
        return f"{len(results)} results, but {case.baseline} has {len(expected)}"
    for what, part in parts.items():
        pairs = list(zip(results[part], expected[part], strict=True))
        distance = sum(_square_distance(*pair) for pair in pairs) ** 0.5
        size = sum(_square_distance(b, None) for _, b in pairs) ** 0.5
        if not distance <= tolerance * size:
            share = distance / size if size else float("inf")
            return f"{what} differ from {case.baseline} by {share:.1e} in {dtype}"
    return None


def _square_distance(a: Tensor | None, b: Tensor | None) -> float:
    if a is None or b is None:
        present = b if a is None else a
        if present is None:
            return 0.0
        return torch.linalg.vector_norm(present, dtype=torch.float64).item() ** 2
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("nan")
    return torch.linalg.vector_norm(a - b, dtype=torch.float64).item() ** 2
