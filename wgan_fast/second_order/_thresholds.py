"""From how much work on it pays to do otherwise than PyTorch; a switch for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_apply: ContextVar[bool] = ContextVar("wgan_fast_thresholds_apply", default=True)


def thresholds_apply() -> bool:
    """Whether small critics and small layers are left to PyTorch."""
    return _apply.get()


@contextmanager
def without_thresholds() -> Iterator[None]:
    """A context in which everything that can be cut or replaced is, whatever its size.

    For tests and benchmarks: what a small critic gets in it is what a large one gets without.

    Example:
        >>> import torch
        >>> from wgan_fast import fast_gradient_penalty
        >>> critic, samples = torch.nn.Linear(2, 1), torch.randn(2, 4, 2)
        >>> with without_thresholds():
        ...     penalty = fast_gradient_penalty(critic, *samples)
    """
    before = _apply.set(False)
    try:
        yield
    finally:
        _apply.reset(before)
