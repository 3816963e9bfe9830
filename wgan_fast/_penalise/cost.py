"""What input gradients cost: a term of their norms, weighed and reduced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..ops._layout import as_rows
from ..ops.norm_penalty import NORM_PENALTY
from .options import Options, Term


def cost_of(
    weight: float, batch: int, count: float, term: Term, options: Options
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """From input gradients to their penalty and norms, for ``count`` of ``batch`` samples, or as
    many in expectation."""
    reduction, backend, norm = options.reduction, options.backend, options.norm
    if reduction == "mean":
        weight = weight / count
    elif reduction == "sum":
        weight = weight * batch / count
    if isinstance(weight, torch.SymFloat):  # of a symbolic batch; the operators take numbers
        of_one = replace(options, reduction="sum" if reduction == "mean" else reduction)
        unweighed = cost_of(1.0, 1, 1, term, of_one)
        return lambda gradients: _times(weight, unweighed(gradients))
    reduce = reduction in ("mean", "sum")
    if norm != 2:
        return functools.partial(
            ops.norm_penalty,
            target=term.target,
            one_sided=term.one_sided,
            power=term.power,
            scale=weight,
            reduce=reduce,
            norm=norm,
            backend=backend,
        )
    # On the path of every call: nothing is checked twice.
    settings = (term.target, term.one_sided, term.power, weight, reduce)
    return lambda gradients: NORM_PENALTY(as_rows(gradients), *settings, backend=backend)


def _times(weight: torch.SymFloat, cost: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    penalty, norms = cost
    # PyTorch's stub knows of numbers alone.
    return torch.mul(penalty, weight), norms  # type: ignore[call-overload]
