"""PyTorch's switches between its backends, set for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class Switched(AbstractContextManager[None]):
    """While it is entered, one of PyTorch's switches is as given.

    The switches belong to the whole process. Threads may overlap: the last to leave restores what
    the first has found.

    Args:
        getter, setter: the switch.
        value: what it is set to.
    """

    def __init__(
        self, getter: Callable[[], bool], setter: Callable[[bool], object], value: bool
    ) -> None:
        self._getter = getter
        self._setter = setter
        self._value = value
        self._before = value
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = self._getter()
                self._setter(self._value)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._setter(self._before)
