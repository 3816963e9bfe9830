"""The call of a critic whose gradient will be differentiated again, and what pays for it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from .backends import RECURRENT, plain_attention
from .convolution import convolutions
from .linear import is_onednn_faster, linear_layers
from .prune import cut_zero_paths, with_zero_gradients
from .replace import Replacing

#: Multiplications in one convolution below which Python's overhead eats what replacing it saves.
#: On two cores of a Zen 4, with kernels of 4x4 and stride 2, critics with layers of 2**28 lost up
#: to 3 % by it, and those of 2**29 gained 2 %.
LEAST_CONVOLUTION = 2**29

#: The same in one linear layer: 256 samples through 512 units to 512.
LEAST_LINEAR = 2**26

#: The same for cutting zero paths, in weights times samples: a batch of 64 through three layers of
#: 64 units breaks even.
LEAST_CRITIC = 2**19

#: After a walk that found nothing to cut, this many penalties of the same critic go without one.
PATIENCE = 63


class CriticCall:
    """A context to call a critic in, so that its double backward costs as little as it can.

    Attention and recurrent networks switch to backends that can be differentiated twice,
    convolutions that are large enough are replaced, and so are linear layers where PyTorch has a
    faster product for them.

        >>> critic = torch.nn.Linear(2, 1)
        >>> points = torch.randn(8, 2, requires_grad=True)
        >>> with CriticCall(critic, points) as call:
        ...     scores = critic(points)
        >>> (gradients,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        >>> gradients = call.prune(gradients)

    Args:
        module: the critic, or None if it is no module: then nothing is known about it, and
            everything is looked out for.
        points: ``[B, *]``, where it will be called; requires a gradient.
    """

    def __init__(self, module: torch.nn.Module | None, points: Tensor) -> None:
        self._points = points
        self._attention = plain_attention(points.is_cpu)
        self._profile = None if module is None else _profile(module)
        self._handles = 0
        self._has_hooks = False
        self._replacing = None
        if self._profile is None or self._profile.may_replace(points):
            self._replacing = Replacing(_REPLACEMENTS)

    def __enter__(self) -> CriticCall:
        self._attention.__enter__()
        if self._replacing is not None:
            self._replacing.__enter__()
        self._handles = RemovableHandle.next_id
        return self

    def __exit__(self, *error: Any) -> None:
        self._has_hooks = RemovableHandle.next_id != self._handles
        if self._replacing is not None:
            self._replacing.__exit__(*error)
        self._attention.__exit__(*error)

    def prune(self, gradients: Tensor) -> Tensor:
        """The gradients with the zero paths of their double backward cut, where that pays.

        Not if the critic put a hook on a tensor of its own while it was called: such a hook would
        be called with None on a cut path. The points get no zeros; nobody asks for their gradient.
        """
        profile = self._profile
        if self._has_hooks or (profile is not None and not profile.may_cut(self._points)):
            return gradients
        cuts = cut_zero_paths([gradients])
        if profile is not None and not cuts.count:
            profile.patience = PATIENCE
        stranded = [leaf for leaf in cuts.stranded if leaf is not self._points]
        return with_zero_gradients([gradients], stranded)[0]


_REPLACEMENTS = convolutions(LEAST_CONVOLUTION) | linear_layers(LEAST_LINEAR) | RECURRENT


@dataclass
class _Profile:
    """What is known about a critic from looking through it once: a guide to what pays, no more."""

    weights: int
    largest_convolution: int
    largest_matrix: int
    is_recurrent: bool
    patience: int = 0

    def may_replace(self, points: Tensor) -> bool:
        # No layer has more positions than the input has numbers, unless the critic enlarges it; a
        # linear layer has one for each row of a matrix of samples.
        if self.largest_convolution * points.numel() >= LEAST_CONVOLUTION:
            return True
        if points.is_cuda or points.dtype != torch.float32:
            return self.is_recurrent and points.is_cuda
        rows = points.shape[0] if points.dim() == 2 else points.numel()
        return self.largest_matrix * rows >= LEAST_LINEAR and is_onednn_faster()

    def may_cut(self, points: Tensor) -> bool:
        if self.weights * points.shape[0] < LEAST_CRITIC and not self.largest_convolution:
            return False
        self.patience -= 1
        return self.patience < 0


_profiles: weakref.WeakKeyDictionary[torch.nn.Module, _Profile] = weakref.WeakKeyDictionary()


def _profile(module: torch.nn.Module) -> _Profile | None:
    profile = _profiles.get(module)
    if profile is None:
        parameters = list(module.parameters())
        if any(is_lazy(parameter) for parameter in parameters):
            return None  # they have no size yet
        sizes = [(parameter.dim(), parameter.numel()) for parameter in parameters]
        profile = _Profile(
            weights=sum(size for _, size in sizes),
            # Whoever calls F.conv2d on parameters of his own is found, too.
            largest_convolution=max((size for dim, size in sizes if dim > 2), default=0),
            largest_matrix=max((size for dim, size in sizes if dim == 2), default=0),
            is_recurrent=any(isinstance(part, torch.nn.RNNBase) for part in module.modules()),
        )
        _profiles[module] = profile
    return profile
