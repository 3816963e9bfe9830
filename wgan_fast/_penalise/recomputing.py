"""What makes the computation of a slice in the backward pass the one that it repeats."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from .joint import JointCritic
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


def without_reducer(critic: Callable[..., Any]) -> Callable[..., Any]:
    """The critic without its wrapper for distributed training, if it is one, or a method or a
    partial of one.

    For DistributedDataParallel, a call of the critic in the backward pass would be the beginning of
    the next iteration.
    """
    if isinstance(critic, DistributedDataParallel):
        return critic.module
    if isinstance(critic, functools.partial):
        inner = without_reducer(critic.func)
        partial = functools.partial(inner, *critic.args, **critic.keywords)
        return JointCritic(partial, critic.form) if isinstance(critic, JointCritic) else partial
    owner = getattr(critic, "__self__", None)
    if isinstance(owner, DistributedDataParallel):
        return getattr(owner.module, getattr(critic, "__name__", "forward"))
    return critic
