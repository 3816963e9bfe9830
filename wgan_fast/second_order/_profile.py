"""What is known about a critic from its earlier calls: a guide to what pays, and no more.

Nothing here changes a number, only whether it is worth while to compute it otherwise than PyTorch.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from ._layer import Replacing
from ._thresholds import thresholds_apply
from ._walk import Walk
from .layers import ATTENTION, CONVOLUTION, RECURRENT

#: Microseconds on one core of the machine that is named in benchmarks/README.md. A node that the
#: walk looks at; a function behind which the graph is cut, now and in the backward pass; giving the
#: stranded leaves their zeros; a node that the double backward leaves out; and how many
#: multiplications a microsecond is worth.
WALKED, CUT, ZEROS, SPARED, MULTIPLICATIONS = 0.5, 3.0, 15.0, 3.0, 20_000.0

#: After a walk that found nothing worth cutting, this many penalties of the same critic at points
#: of the same shape go without one.
PATIENCE = 63

#: Of so many shapes of points the decisions are remembered.
_SHAPES = 64


class Profile:
    """What is known about one critic; nothing before its first call."""

    def __init__(self) -> None:
        self._was_called = False
        self._calls: set[str] = set()
        #: The most multiplications of one of its layers, for each number of its input.
        self._largest_work = 0.0
        self._wait: dict[torch.Size, int] = {}

    def may_replace(self, points: Tensor) -> bool:
        """Whether one of the critic's layers may be worth replacing, as far as is known."""
        if not self._was_called or not thresholds_apply() or ATTENTION.name in self._calls:
            return True
        if RECURRENT.name in self._calls:
            return points.is_cuda
        return self._largest_work * points.numel() >= CONVOLUTION.least_work

    def learn_from_call(self, replacing: Replacing, points: Tensor) -> None:
        """Remembers which layers the critic has, and their work."""
        self._was_called = True
        self._calls |= replacing.called
        self._largest_work = max(self._largest_work, replacing.largest_work / points.numel())

    def may_cut(self, shape: torch.Size) -> bool:
        """Whether it is worth while to look for what can be cut."""
        if not thresholds_apply():
            return True
        wait = self._wait.get(shape, 0)
        if wait > 0:
            self._wait[shape] = wait - 1
        return wait == 0

    def learn_from_walk(self, walk: Walk | None, shape: torch.Size) -> bool:
        """Whether what was found is worth cutting; if not, nobody looks again for a while."""
        if not thresholds_apply() or (walk is not None and _pays(walk, shape[0] if shape else 1)):
            return True
        if len(self._wait) >= _SHAPES:
            self._wait.clear()
        self._wait[shape] = PATIENCE
        return False


def _pays(walk: Walk, batch: int) -> bool:
    cuts = walk.cuts
    cost = WALKED * cuts.walked + CUT * cuts.count + (ZEROS if cuts.stranded else 0.0)
    gain = SPARED * cuts.spared
    if gain <= cost and cuts.spared_products:
        # Each product is spared twice: for the gradient of its input, and of its weight. One of a
        # convolution counts as if there were a single position; its others make the more of it.
        gain += 2 * batch * walk.count_weights() / MULTIPLICATIONS
    return gain > cost


_profiles: weakref.WeakKeyDictionary[Any, Profile] = weakref.WeakKeyDictionary()


def profile_of(critic: Any, module: torch.nn.Module | None) -> Profile | None:
    """The profile of a critic; None where there is nothing to remember it by.

    A module is remembered, and of a function its code: a lambda is another one at every call.
    """
    key = module if module is not None else getattr(critic, "__code__", None)
    if key is None:
        return None
    profile = _profiles.get(key)
    if profile is None:
        profile = _profiles[key] = Profile()
    return profile
