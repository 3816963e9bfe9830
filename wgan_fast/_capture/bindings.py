"""The quickest way from Python to an operator.

``torch.ops.aten.mul.Tensor(a, b)`` reads its arguments by a general reader, ``torch.mul(a, b)`` by
one that was generated for it: 3 us against 2. Which overload the second one chooses is not written
anywhere, so it is tried: the call is stopped where it meets its operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._torch_internals import NN_FUNCTIONS, DispatchMode

_Mode: Any = object if DispatchMode is None else DispatchMode


def binding_of(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
    """A function that calls this operator with these very arguments, or with others of their kinds.

    Args:
        op: the operator.
        args, kwargs: what it is called with.
    """
    namespace, _, name = op.name().partition(".")[0].partition("::")
    if namespace == "aten":
        for owner in (torch, Tensor, NN_FUNCTIONS):
            candidate = getattr(owner, name, None)
            if candidate is not None and _leads_to(candidate, op, args, kwargs):
                return candidate
    return op


class _Met(Exception):  # noqa: N818 - it is no error, it ends the trial
    """The operator was met: the call goes no further."""


class _Stopping(_Mode):
    seen: tuple[Any, tuple[Any, ...], dict[str, Any]] | None = None

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.seen = op, args, kwargs or {}
        raise _Met


def _leads_to(candidate: Any, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    mode = _Stopping()
    try:
        with torch.no_grad(), mode:
            candidate(*args, **kwargs)
    except _Met:
        pass
    except Exception:
        return False
    return mode.seen is not None and mode.seen[0] is op and _alike(mode.seen[1:], (args, kwargs))


def _alike(a: Any, b: Any) -> bool:
    """Whether two nested values are equal, their tensors the same."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)
