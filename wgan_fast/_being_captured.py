"""Whether calls are being recorded by :func:`wgan_fast.captured`, to be repeated with other values.

What is recorded must not look at values, and needs no account of what looking for a better way
costs: that is paid once. The flag is the whole process's: backward passes on a device run in
threads of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_depth = 0
#: What has to be true at every call of the graph that is being recorded; None where nobody looks.
_conditions: list[Tensor] | None = None


def being_captured() -> bool:
    return _depth > 0


def conditions_are_kept() -> bool:
    """Whether a graph is recorded that looks at conditions whenever it is run."""
    return _conditions is not None


def must_hold(condition: Tensor) -> None:
    """Makes a scalar truth value a condition of the graph that is being recorded."""
    assert _conditions is not None
    _conditions.append(condition)


@contextmanager
def capturing(conditions: list[Tensor] | None = None) -> Iterator[None]:
    """A context in which calls are recorded.

    Args:
        conditions: where to put what has to be true; None if that cannot be looked at.
    """
    global _depth, _conditions
    before, _conditions = _conditions, conditions
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        _conditions = before
