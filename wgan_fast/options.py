"""What the user can choose, common to all penalties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from . import arguments


@dataclass(slots=True)  # frozen would cost a microsecond a call
class Term:
    """What a gradient norm n costs: ``|n - target| ** power``, one-sided only above the target."""

    target: float = 1.0
    one_sided: bool = False
    power: float = 2.0

    def __post_init__(self) -> None:
        arguments.check_number(self.target, "target")
        arguments.check_bool(self.one_sided, "one_sided")
        arguments.check_number(self.power, "power", least=1.0)


class Keywords(TypedDict, total=False):
    """The shared keywords that do not change what a penalty returns; explained in
    :func:`wgan_fast.fast_gradient_penalty`."""

    critic_args: tuple[Any, ...]
    critic_kwargs: Mapping[str, Any] | None
    reduction: str
    chunk_size: int | None
    backend: str
    second_order: str
    norm: float
    double_backward: str
    finite_difference_step: float | None
    subset: float | None
    generator: torch.Generator | None


class Shared(Keywords, total=False):
    """The keywords that all penalties share."""

    return_norms: bool


_EUCLIDEAN = 2

_CHOICES = (
    ("reduction", ("mean", "sum", "none", "max")),
    ("backend", ("auto", "native", "reference")),
    ("second_order", ("auto", "plain")),
    ("double_backward", ("exact", "finite_difference")),
)


@dataclass(slots=True)
class Options:
    """The values of the shared keywords, checked; their order is that of :class:`Shared`."""

    critic_args: tuple[Any, ...] = ()
    critic_kwargs: Mapping[str, Any] | None = None
    reduction: str = "mean"
    chunk_size: int | None = None
    backend: str = "auto"
    second_order: str = "auto"
    norm: float = _EUCLIDEAN
    double_backward: str = "exact"
    finite_difference_step: float | None = None
    subset: float | None = None
    generator: torch.Generator | None = None
    return_norms: bool = False

    def __post_init__(self) -> None:
        # On the path of every call: what was left at its default is not looked at twice.
        for name, choices in _CHOICES:
            if getattr(self, name) not in choices:
                arguments.check_choice(getattr(self, name), name, choices)
        if self.chunk_size is not None:
            arguments.check_chunk_size(self.chunk_size)
        if self.norm is not _EUCLIDEAN:
            arguments.check_norm(self.norm, self.backend)
        if self.finite_difference_step is not None:
            arguments.check_step(self.finite_difference_step, self.double_backward)
        if self.subset is not None:
            arguments.check_subset(self.subset, self.reduction)
        if self.generator is not None:
            arguments.check_generator(self.generator)
        arguments.check_bool(self.return_norms, "return_norms")
        if not isinstance(self.critic_args, tuple | list):
            raise TypeError(
                "critic_args must be a tuple of positional arguments, but it is "
                f"{arguments.describe(self.critic_args)}; write (labels,) for a single one"
            )
        if self.critic_kwargs is not None and not isinstance(self.critic_kwargs, Mapping):
            raise TypeError(
                "critic_kwargs must be a dict of keyword arguments, but it is "
                f"{arguments.describe(self.critic_kwargs)}"
            )


def options_of(shared: Shared, **fixed: Any) -> Options:
    """The options from the keywords a penalty was called with, and those it fixes itself."""
    known = [name for name in Options.__slots__ if name not in fixed]
    for name in shared:
        if name not in known:
            raise TypeError(
                f"unexpected keyword argument {name!r}; besides its own, this penalty takes "
                f"{', '.join(known)}"
            )
    return Options(**shared, **fixed)
