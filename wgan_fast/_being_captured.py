"""Whether calls are being recorded by :func:`wgan_fast.captured`, to be repeated with other values.

What is recorded must not look at values, and needs no account of what looking for a better way
costs: that is paid once. All this is a thread's own affair; what others do meanwhile is not
recorded. But backward passes on a device run in threads of their own, which PyTorch gives the modes
of the thread that began the pass: there, the mode that records tells.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ._torch_internals import active_modes


class _Here(threading.local):
    """What this thread does."""

    #: It captures: runs a function for the first time, records it, or times it.
    captures = False
    records = False
    #: What has to be true at every call of the graph that is recorded; None where nobody looks.
    conditions: list[Tensor] | None = None


_here = _Here()
_turn = threading.Lock()
#: The mode that records, in whichever thread.
_recording: Any = None


@contextmanager
def turn_to_capture() -> Iterator[bool]:
    """A context in which this thread captures, and no other does; False if another does already.

    Nobody waits for another's turn to end, for that one may be waiting for him.
    """
    if not _turn.acquire(blocking=False):
        yield False
        return
    _here.captures = True
    try:
        yield True
    finally:
        _here.captures = False
        _turn.release()


def has_turn() -> bool:
    """Whether this thread captures something, and is not to capture what is called in it."""
    return _here.captures


def being_captured() -> bool:
    return _here.records or (
        _recording is not None and any(mode is _recording for mode in active_modes())
    )


def conditions_are_kept() -> bool:
    """Whether a graph is recorded that looks at conditions whenever it is run."""
    return _here.conditions is not None


def must_hold(condition: Tensor) -> None:
    """Makes a scalar truth value a condition of the graph that is being recorded."""
    assert _here.conditions is not None
    _here.conditions.append(condition)


@contextmanager
def capturing(mode: Any, conditions: list[Tensor] | None = None) -> Iterator[None]:
    """A context in which the calls of this thread are recorded. It has the turn.

    Args:
        mode: what records.
        conditions: where to put what has to be true; None if that cannot be looked at.
    """
    global _recording
    _here.records, _here.conditions, _recording = True, conditions, mode
    try:
        yield
    finally:
        _here.records, _here.conditions, _recording = False, None, None
