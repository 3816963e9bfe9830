"""Several contexts as one."""

from __future__ import annotations

import contextlib
from typing import Any


def together(*contexts: contextlib.AbstractContextManager[Any] | None) -> Any:
    """The contexts that are there, to be entered in order.

    Of three that may be needed mostly one is; each that does nothing costs a small critic a
    microsecond.
    """
    there = list(filter(None, contexts))
    return there[0] if len(there) == 1 else _entered(there)


@contextlib.contextmanager
def _entered(contexts: list[contextlib.AbstractContextManager[Any]]) -> Any:
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
