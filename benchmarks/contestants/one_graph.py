"""A loss and its gradients in one graph, in every way that is raced in PyTorch."""

from __future__ import annotations

from ..problems.problem import Problem
from . import CAPTURED, COMPILE, REPLAYED, TRACED, Build, captured, compiled
from .compiled import Loss
from .penalties import Penalty


def losses(problem: Problem, ours: Penalty, usual: Loss) -> dict[str, Build]:
    """The library's loss captured, and the usual one compiled."""
    return {
        CAPTURED: captured.loss(problem, ours),
        REPLAYED: captured.loss(problem, ours, "replay"),
        COMPILE: compiled.loss(problem, usual),
        TRACED: compiled.loss(problem, usual, compiled.traced),
    }
