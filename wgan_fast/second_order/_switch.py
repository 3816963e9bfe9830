"""PyTorch's switches between its backends, set for a while."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from .._torch_internals import switch


class Switched(AbstractContextManager[None]):
    """While it is entered, one of PyTorch's switches is as given.

    The switches belong to the whole process. Threads may overlap: the last to leave restores what
    the first has found.

    Args:
        name: of the switch, as ``_torch_internals.switch`` knows it.
        value: what it is set to.
    """

    def __init__(self, name: str, value: bool) -> None:
        self._name = name
        self._value = value
        self._before = value
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            functions = switch(self._name) if self._inside == 0 else None
            if functions is not None:
                getter, setter = functions
                self._before = getter()
                setter(self._value)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            functions = switch(self._name) if self._inside == 0 else None
            if functions is not None:
                functions[1](self._before)
