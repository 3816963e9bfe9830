"""Which critics were met before, without keeping them alive, and whether one can be looked at."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import torch
from torch import Tensor

from .._torch_internals import transforms_active


def can_look(points: Tensor) -> bool:
    """Whether values can be looked at: not while calls are recorded, to be repeated with others."""
    if torch.compiler.is_compiling() or transforms_active() or points.is_meta:
        return False
    return not (points.is_cuda and torch.cuda.is_current_stream_capturing())


class Seen:
    """A set of critics: of a function its code is remembered, for a lambda is another one at every
    call."""

    def __init__(self) -> None:
        self._keys: weakref.WeakSet[Any] = weakref.WeakSet()

    def is_new(self, critic: Any) -> bool:
        """Whether it is met for the first time; it is met thereby."""
        key = _key_of(critic)
        if key in self._keys:
            return False
        self._keys.add(key)
        return True


def _key_of(critic: Any) -> Any:
    while isinstance(critic, functools.partial):
        critic = critic.func
    critic = getattr(critic, "__func__", critic)  # of a bound method
    key = getattr(critic, "__code__", critic)
    try:
        weakref.ref(key), hash(key)
    except TypeError:
        return type(key)
    return key
