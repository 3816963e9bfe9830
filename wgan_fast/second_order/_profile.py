"""What is known about a critic from its earlier calls: a guide to what pays, and no more.

Nothing here changes a number, only whether it is worth while to compute it otherwise than PyTorch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .._being_captured import being_captured
from .._per_critic import Memory, PerCritic, behind_partials
from .._tracing import has_symbolic_shape
from ._layer import Replacing
from ._thresholds import thresholds_apply
from ._walk import Walk
from .layers import ATTENTION, CONVOLUTION, LAYERS, RECURRENT

# What cutting costs and spares, in microseconds on one core of an Intel Xeon of 2023 (family 6,
# model 207), fitted to penalties of 20 small critics with and without it.
#: A node that the walk looks at; a function behind which the graph is cut, now and in the backward
#: pass; a stranded leaf that gets its zeros, and the function that gives them.
WALKED, CUT, LEAF, ZEROS = 3.5, 13.0, 5.0, 35.0
#: A node that the double backward leaves out, and what a matrix product or a convolution takes
#: before it has multiplied anything. oneDNN is slow at few channels if a kernel is not 3x3.
SPARED, PRODUCT, OTHER_KERNEL = 3.0, 20.0, 120.0
#: The numbers that a microsecond multiplies, and those of a weight whose gradient it adds up.
MULTIPLIED, ADDED = 50_000.0, 1_000.0

#: After a walk that found nothing worth cutting, this many penalties of the same critic at points
#: of the same shape go without one.
PATIENCE = 63

#: Of so many shapes of points the decisions are remembered.
_SHAPES = 64


class Patience:
    """Waits for a while before it looks again for what was not found, for each shape of points."""

    def __init__(self) -> None:
        self._wait: dict[torch.Size, int] = {}
        self._why: dict[torch.Size, str] = {}

    def looks(self, shape: torch.Size) -> bool:
        """Whether to look; each answer of no is one turn of waiting."""
        if not thresholds_apply():
            return True
        wait = self._wait.get(shape, 0)
        if wait > 0:
            self._wait[shape] = wait - 1
        return wait == 0

    def begin(self, shape: torch.Size, why: str = "") -> None:
        """Waits, from now on."""
        if len(self._wait) >= _SHAPES:
            self._wait.clear()
            self._why.clear()
        self._wait[shape] = PATIENCE
        self._why[shape] = why

    def why(self, shape: torch.Size) -> str:
        """What :meth:`begin` was told."""
        return self._why.get(shape, "")


class Profile:
    """What is known about one critic; nothing before its first call."""

    def __init__(self) -> None:
        self._calls: set[str] = set()
        #: By the name of a layer: the most work of one of its calls, for each number of the input.
        self._largest_work: dict[str, float] = {}
        #: From how many numbers of the input on a call is worth replacing.
        self._least_points = 0.0
        self._cutting = Patience()
        #: Whether scores may be computed from gradients; see ``added_constants.py``.
        self.sharing = Patience()
        #: Whether they were, and a call proved that they may be.
        self.sharing_was_proved = False

    def may_replace(self, points: Tensor) -> bool:
        """Whether one of the critic's layers may be worth replacing, as far as is known."""
        if points.numel() >= self._least_points or not thresholds_apply():
            return True
        return points.is_cuda and RECURRENT.name in self._calls

    def learn_from_call(self, replacing: Replacing, points: Tensor) -> None:
        """Remembers which layers the critic has, and their work."""
        self._calls |= replacing.called
        for name, work in replacing.largest_work.items():
            before = self._largest_work.get(name, 0.0)
            self._largest_work[name] = max(before, work / points.numel())
        work_of = self._largest_work
        least = [each.least_work / work_of[each.name] for each in LAYERS if work_of.get(each.name)]
        self._least_points = 0.0 if ATTENTION.name in self._calls else min(least, default=math.inf)

    def may_cut(self, shape: torch.Size) -> bool:
        """Whether it is worth while to look for what can be cut."""
        return being_captured() or self._cutting.looks(shape)

    def learn_from_walk(self, walk: Walk | None, points: Tensor) -> bool:
        """Whether what was found is worth cutting; if not, nobody looks again for a while."""
        if not thresholds_apply() or being_captured():
            return True
        multiplications = self._largest_work.get(CONVOLUTION.name, 0.0)
        if walk is not None and _pays(walk, points, multiplications):
            return True
        self._cutting.begin(points.shape)
        return False


def _pays(walk: Walk, points: Tensor, multiplications: float) -> bool:
    """Whether what cutting spares is worth what it costs.

    Args:
        walk: what was found.
        points: where the critic was called, or the gradient there.
        multiplications: the most of one of its convolutions, for each number of the input.
    """
    cuts = walk.cuts
    zeros = ZEROS + LEAF * len(cuts.stranded) if cuts.stranded else 0.0
    cost = WALKED * cuts.walked + CUT * cuts.count + zeros
    gain = SPARED * cuts.spared
    if not cuts.spared_products:
        return gain > cost
    leaves = [leaf for leaf in walk.leaves() if leaf.shape != points.shape]  # weights, not points
    kernels = [leaf.shape[2:].numel() for leaf in leaves if leaf.dim() > 2]
    is_slow = points.is_cpu and max(kernels, default=0) > 9
    gain += cuts.spared_products * (OTHER_KERNEL if is_slow else PRODUCT)
    # Each product is spared twice: for the gradient of its input, and of its weight.
    weights = sum(leaf.numel() for leaf in leaves)
    work = max(weights * points.shape[0] if points.dim() else 0, multiplications * points.numel())
    return gain + 2 * work / MULTIPLIED + weights / ADDED > cost


_profiles: PerCritic[Profile] = PerCritic()


def profile_of(
    critic: Any, module: torch.nn.Module | None, memory: Memory, points: Tensor | None = None
) -> Profile | None:
    """The profile in what is known of a critic; None where there is nothing to know it by, or
    where nothing can be learnt, as it is called at points of a symbolic shape."""
    if module is None and not hasattr(behind_partials(critic), "__code__"):
        return None
    if points is not None and has_symbolic_shape(points):
        return None
    profile = _profiles.get(memory)
    if profile is None:
        profile = Profile()
        _profiles.put(memory, profile)
    return profile
