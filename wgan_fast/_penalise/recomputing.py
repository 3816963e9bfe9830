"""What makes the computation of a slice in the backward pass the one that it repeats."""

from __future__ import annotations

import contextlib
from typing import Any

from .snapshot import Snapshot


class Recomputing(contextlib.AbstractContextManager[None]):
    """The context in which a slice is computed again, as often as it is entered.

    Args:
        begin: the state that the critic began with. The random generators, on the other hand, are
            those of the time at which this is made.
    """

    def __init__(self, begin: Snapshot) -> None:
        self.active = False
        self._begin = begin
        self._randomness = begin.randomness_now()

    def __enter__(self) -> None:
        self._once_more = self._begin.once_more(self._randomness)
        self._once_more.__enter__()
        self.active = True

    def __exit__(self, *error: Any) -> None:
        self.active = False
        self._once_more.__exit__(*error)
