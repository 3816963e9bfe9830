"""What a captured function reads from elsewhere: looked at in each call, for whether it is changed.

A graph reads tensors where they lie, so a new value of a weight needs no look. But another tensor,
another layer or another number in its place is not in the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

import torch
from torch import Tensor

from .names import Names, Place

#: Another object with the same value will do.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), frozenset),
    *(tuple, torch.Size, torch.dtype, torch.device),
)


class Watch:
    """The places that a function reads from, and what was there when it was captured.

    Args:
        function: the function.
        others: the modules that it calls, as far as is known, and the values that it is given.
    """

    def __init__(self, function: Any, others: Iterable[Any]) -> None:
        names = Names(function, others)
        self._set([(place, place.read()) for place in names.places])
        self._sized = names.sized
        self._lengths = list(map(len, self._sized))
        self._lists = [(each, len(each)) for each in self._sized if isinstance(each, list)]

    def _set(self, entries: list[tuple[Place, Any]]) -> None:
        self._entries = entries
        # Most are entries of dicts, which are looked at all at once.
        in_dicts = [(p, value) for p, value in entries if isinstance(p.owner, dict)]
        self._owners = [place.owner for place, _ in in_dicts]
        self._names = [place.name for place, _ in in_dicts]
        self._values = [value for _, value in in_dicts]
        self._others = [(p, value) for p, value in entries if not isinstance(p.owner, dict)]

    def holds(self) -> bool:
        """Whether there is the same in every place."""
        return (
            all(map(is_, map(dict.get, self._owners, self._names), self._values))
            and all(is_same(place.read(), value) for place, value in self._others)
            and list(map(len, self._sized)) == self._lengths
        )

    def accept_equal(self) -> bool:
        """The same, but equal numbers will do; then they are what is watched from now on."""
        now = [(place, place.read()) for place, _ in self._entries]
        if next(self.changes(), None) is not None:
            return False
        self._set(now)
        return True

    def changes(self) -> Iterator[str]:
        """The places where there is something else, in words."""
        for place, value in self._entries:
            if not is_same(place.read(), value):
                yield place.label
        if list(map(len, self._sized)) != self._lengths:
            yield "the number of layers, hooks, or entries of a list or dict"

    def tensors(self) -> Iterator[tuple[Place, Tensor]]:
        """The places where there were tensors, and these."""
        return ((place, value) for place, value in self._entries if isinstance(value, Tensor))

    def numbers(self) -> Iterator[tuple[Place, Any]]:
        """The places where there were numbers, and these."""
        return ((place, value) for place, value in self._entries if isinstance(value, int | float))

    def put_back(self, is_read: Callable[[Tensor], bool]) -> None:
        """After a run on the side: the tensors are where they were.

        What the function puts in a place and does not read is a result, kept for somebody to look
        at, and is watched no more. Nor are lists and dicts that it adds to; the lists get their
        length back.

        Args:
            is_read: whether the function reads a tensor.
        """
        stays = [len(each) == n for each, n in zip(self._sized, self._lengths, strict=True)]
        grown = {id(e) for e, s in zip(self._sized, stays, strict=True) if not s}
        kept = []
        for place, value in self._entries:
            is_result = not is_same(place.read(), value)
            if is_result and isinstance(value, Tensor):
                place.write(value)
            is_result |= id(place.owner) in grown
            if not is_result or (isinstance(value, Tensor) and is_read(value)):
                kept.append((place, value))
        self._set(kept)
        self._sized = list(itertools.compress(self._sized, stays))
        self._lengths = list(map(len, self._sized))
        for each, length in self._lists:
            del each[length:]


def is_same(a: Any, b: Any) -> bool:
    """Whether two values make no difference: the same object, or the same plain value."""
    return a is b or (type(a) is type(b) and type(a) in _PLAIN and bool(_equal(a, b)))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):  # the tensors in one cannot be compared by ==
        return len(a) == len(b) and all(map(is_same, a, b))
    return a == b or (a != a and b != b)  # NaN is as good as any other
