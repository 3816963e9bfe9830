"""Calls of PyTorch's operators and the bytes that they move, counted exactly.

Where arrays are large, an elementwise operator takes as long as its bytes take from memory and back
to it; where they are small, every call takes its launch. Neither is seen in the operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from .counting import Counting

#: Operators that move nothing, besides PyTorch's views: they allocate, or look at the same memory.
_FREE = ("empty", "detach", "alias", "_unsafe_view", "set_", "resize_", "is_same_size")


class CallCounter(Counting):
    """Counts calls, and the bytes of their inputs and outputs, while it is entered.

    A call is one of an operator that is no view; a compiled one of this library counts as one, too.

    >>> import torch
    >>> with CallCounter() as counter:
    ...     _ = torch.ones(2, 3).t().exp()
    >>> counter.calls, counter.bytes
    (2, 72)
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls_of: Counter[str] = Counter()
        self.bytes_of: Counter[str] = Counter()

    @property
    def calls(self) -> int:
        return self.calls_of.total()

    @property
    def bytes(self) -> int:
        return self.bytes_of.total()

    def count(
        self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        name = operator._overloadpacket.__name__
        if not operator.is_view and not name.startswith(_FREE):
            self.calls_of[name] += 1
            self.bytes_of[name] += _bytes([args, kwargs, result])


def _bytes(values: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(values) if isinstance(t, Tensor))


def calls_and_bytes_of(call: Callable[[], object]) -> tuple[int, int]:
    """The calls that ``call()`` makes, and the bytes that they move."""
    with CallCounter() as counter:
        call()
    return counter.calls, counter.bytes
