"""What the user can choose, common to all penalties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch

from ..ops._op import BACKENDS
from . import checks


@dataclass(slots=True)  # frozen would cost a microsecond a call
class Term:
    """What a gradient norm n costs: ``|n - target| ** power``, one-sided only above the target."""

    target: float = 1.0
    one_sided: bool = False
    power: float = 2.0

    def __post_init__(self) -> None:
        self.target = checks.check_number(self.target, "target")
        checks.check_bool(self.one_sided, "one_sided")
        self.power = checks.check_number(self.power, "power", least=1.0)


@dataclass(frozen=True, slots=True)
class FiniteDifference:
    """``double_backward="finite_difference"`` with a step of your own.

    Args:
        step: the step along the normalised gradient, in units of the norm of the sample, or of 1
            for shorter samples. By default 5e-3, for float64 1e-6, and for half precision 0.1
            (float16) and 0.2 (bfloat16). docs/variants.md tells the errors, and why critics with
            kinks (ReLU) may want a larger one.

    Raises:
        TypeError: if the step is not a number.
        ValueError: if it is not finite or not above 0.

    Example:
        >>> from wgan_fast import fast_gradient_penalty
        >>> critic = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(),
        ...                              torch.nn.Linear(8, 1))
        >>> real, fake = torch.randn(2, 4, 2)
        >>> fast_gradient_penalty(
        ...     critic, real, fake, double_backward=FiniteDifference(step=1e-2)
        ... ).backward()
    """

    step: float | None = None

    def __post_init__(self) -> None:
        if self.step is None:
            return
        step = checks.check_number(self.step, "step")
        if step == 0:
            raise ValueError("step must be above 0, but it is 0")
        object.__setattr__(self, "step", step)  # the way to do so where all is frozen


#: How the penalty's gradient is computed.
DoubleBackward = Literal["pruned", "plain", "finite_difference", "exact"] | FiniteDifference


class KeywordsOfMaximum(TypedDict, total=False):
    """The keywords that all penalties share and that do not change what a penalty returns;
    explained in :func:`wgan_fast.fast_gradient_penalty`."""

    critic_args: tuple[Any, ...]
    critic_kwargs: Mapping[str, Any] | None
    module: torch.nn.Module | None
    shared_arguments: tuple[int | str, ...]
    chunk_size: int | None
    backend: str
    double_backward: DoubleBackward
    norm: float
    generator: torch.Generator | None
    first_sample: int | None


class Keywords(KeywordsOfMaximum, total=False):
    """Those and the two that a maximum over the batch has not."""

    reduction: str
    subset: float | None


class Shared(Keywords, total=False):
    """The keywords that all penalties share."""

    return_norms: bool


_EUCLIDEAN = 2

_REDUCTIONS = ("mean", "sum", "none", "max")
_MEAN, _AUTO = _REDUCTIONS[0], BACKENDS[0]


@dataclass(slots=True, kw_only=True)
class Options:
    """The values of the shared keywords, checked."""

    critic_args: tuple[Any, ...] = ()
    critic_kwargs: Mapping[str, Any] | None = None
    module: torch.nn.Module | None = None
    shared_arguments: tuple[int | str, ...] = ()
    reduction: str = "mean"
    chunk_size: int | None = None
    backend: str = "auto"
    double_backward: DoubleBackward = "pruned"
    norm: float = _EUCLIDEAN
    subset: float | None = None
    generator: torch.Generator | None = None
    first_sample: int | None = None
    return_norms: bool = False

    def __post_init__(self) -> None:
        # On the path of every call: what was left at its default is not looked at twice.
        if self.reduction is not _MEAN:
            checks.check_choice(self.reduction, "reduction", _REDUCTIONS)
        if self.backend is not _AUTO:
            checks.check_choice(self.backend, "backend", BACKENDS)
        if not isinstance(self.double_backward, str):
            checks.check_double_backward(self.double_backward, FiniteDifference)
        elif self.double_backward == "exact":  # as it was called before there were two of them
            self.double_backward = "pruned"
        elif self.double_backward not in ("pruned", "plain", "finite_difference"):
            checks.check_double_backward(self.double_backward, FiniteDifference)
        if self.module is not None:
            checks.check_module(self.module)
        if self.chunk_size is not None:
            checks.check_chunk_size(self.chunk_size)
        if self.norm is not _EUCLIDEAN:
            checks.check_norm(self.norm, self.backend)
        if self.subset is not None:
            self.subset = checks.check_subset(self.subset, self.reduction)
        if self.generator is not None:
            checks.check_generator(self.generator)
        if self.first_sample is not None:
            checks.check_first_sample(self.first_sample)
        checks.check_bool(self.return_norms, "return_norms")
        checks.check_critic_arguments(self.critic_args, self.critic_kwargs)
        if self.shared_arguments != ():
            checks.check_shared_arguments(
                self.shared_arguments, self.critic_args, self.critic_kwargs
            )

    @property
    def finite_difference(self) -> FiniteDifference | None:
        """The settings of finite differences, if they were chosen."""
        if isinstance(self.double_backward, FiniteDifference):
            return self.double_backward
        return FiniteDifference() if self.double_backward == "finite_difference" else None


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
