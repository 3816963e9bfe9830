"""Samples of several tensors, such as an image and its mask: joined at the edge into one tensor.

Below, everything has to do with one tensor ``[B, N]``, and therefore with one mixing factor for
each sample and one gradient norm over all its entries. The critic is handed the tensors apart, as
they came.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from . import checks
from .critic import check_critic

#: What a penalty takes as samples: a tensor ``[B, *]``, or several of one batch.
Samples = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

_SEVERAL = (tuple, list, Mapping)


def joined(
    critic: Callable[..., Any],
    samples: Samples,
    name: str,
    change: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Callable[..., Any], Tensor]:
    """The samples as one tensor, and the critic as one of such a tensor.

    Args:
        critic: takes what ``samples`` is. A tensor is left as it is, and so is its critic.
        samples: checked here.
        name: of the argument, for errors.
        change: what to make of each tensor before they are joined, in its shape.
    """
    if isinstance(samples, Tensor):
        checks.check_samples(samples, name)
        return critic, samples if change is None else change(samples)
    tensors = list(entries_of(samples, name).values())
    check_critic(critic)
    critic = JointCritic(critic, Form(samples, tensors))
    return critic, joint(tensors if change is None else map(change, tensors))


def joined_pair(
    critic: Callable[..., Any], real: Samples, fake: Samples
) -> tuple[Callable[..., Any], Tensor, Tensor]:
    """The same for real and fake samples, which must fit. The critic gets the form of ``real``."""
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        checks.check_pair(real, fake)
        return critic, real, fake
    reals = entries_of(real, "real")
    fakes = _named(_in_the_form_of(real, fake), "fake")
    for (real_name, each), (fake_name, other) in zip(reals.items(), fakes.items(), strict=True):
        checks.check_pair(each, other, real_name, fake_name)
    check_critic(critic)
    critic = JointCritic(critic, Form(real, reals.values()))
    return critic, joint(reals.values()), joint(fakes.values())


def joint(tensors: Iterable[Tensor]) -> Tensor:
    """Samples or gradients of several tensors ``[B, *]``, side by side: ``[B, N]``, with a graph
    if they have one."""
    return torch.cat([tensor.reshape(tensor.shape[0], -1) for tensor in tensors], 1)


def first_tensor(samples: Any) -> Any:
    """The first of several tensors; anything else as it is."""
    if isinstance(samples, Mapping):
        samples = list(samples.values())
    return samples[0] if isinstance(samples, tuple | list) and samples else samples


def entries_of(samples: Samples, name: str) -> dict[str, Tensor]:
    """The tensors of some samples, by the names that errors give them: ``real['image']``.

    Raises:
        TypeError: if one of them is no dense floating tensor, or has another dtype than the first.
        ValueError: if there is none, or one is empty or has another batch or device than the first.
    """
    entries = _named(samples, name)
    first_name, first = next(iter(entries.items()))
    for each_name, each in entries.items():
        _check_entry(each, each_name)
        if each.shape[0] != first.shape[0]:
            raise ValueError(
                f"{each_name} must have the batch of {first_name}, {first.shape[0]} samples, but "
                f"it has {each.shape[0]}"
            )
        checks.check_alike(each, each_name, first, first_name)
    return entries


class Form:
    """How several tensors lie in their joint one, and what holds them when they are apart.

    Args:
        samples: the form of these is meant; none of them is kept.
        tensors: what they hold, in this order.
    """

    def __init__(self, samples: Samples, tensors: Iterable[Tensor]) -> None:
        self._shapes = [tensor.shape[1:] for tensor in tensors]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self._hold = _holder(samples)

    def apart(self, points: Tensor) -> Any:
        """The tensors that ``points``, ``[B, N]``, are made of: in memory of their own, so that the
        critic may take any view of them."""
        # PyTorch's stub says that it returns None.
        parts = cast(Any, torch.split_with_sizes_copy(points, self._sizes, 1))
        return self._hold(
            # No view that can be spared: it would be two more functions in each backward pass.
            part if len(shape) == 1 else part.view(points.shape[0], *shape)
            for part, shape in zip(parts, self._shapes, strict=True)
        )


def _holder(samples: Samples) -> Callable[[Iterable[Tensor]], Any]:
    if isinstance(samples, Mapping):
        keys = list(samples)
        return lambda parts: dict(zip(keys, parts, strict=True))
    if isinstance(samples, list):
        return list
    return getattr(samples, "_make", tuple)  # a named tuple stays one


class JointCritic(functools.partial):
    """A critic of several tensors, called with their joint tensor.

    It is a partial, so that what is known of a critic behind a partial is known of this one.
    """

    form: Form

    def __new__(cls, critic: Callable[..., Any], form: Form) -> JointCritic:
        self = super().__new__(cls, critic)
        self.form = form
        return self

    def calling(self, critic: Callable[..., Any]) -> JointCritic:
        """The same of another critic."""
        return JointCritic(critic, self.form)

    def __call__(self, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        parts = self.form.apart(points)
        return self.func(*self.args, parts, *args, **{**self.keywords, **kwargs})


def _named(samples: Any, name: str) -> dict[str, Any]:
    """What lies in ``samples``, by name."""
    if isinstance(samples, Tensor):
        return {name: samples}
    if not isinstance(samples, _SEVERAL):
        raise TypeError(
            f"{name} must be a tensor [B, *], or a tuple, list or dict of tensors, but it is "
            f"{checks.describe(samples)}"
        )
    if len(samples) == 0:
        raise ValueError(f"{name} must hold at least one tensor, but it is {samples!r}")
    if isinstance(samples, Mapping):
        return {f"{name}[{key!r}]": entry for key, entry in samples.items()}
    fields = getattr(samples, "_fields", None)
    if fields is not None:
        return {f"{name}.{field}": x for field, x in zip(fields, samples, strict=True)}
    return {f"{name}[{index}]": entry for index, entry in enumerate(samples)}


def _in_the_form_of(real: Samples, fake: Samples) -> Samples:
    """``fake``, in the order of ``real``; it must hold the same."""
    _named(fake, "fake")
    form = _form_of(real)
    if _form_of(fake) != form:
        raise TypeError(f"fake must be {form}, as real is, but it is {_form_of(fake)}")
    if isinstance(real, Mapping) and isinstance(fake, Mapping):
        if set(fake) != set(real):
            raise ValueError(
                f"fake must have the keys of real, {list(real)}, but its keys are {list(fake)}"
            )
        return {key: fake[key] for key in real}
    if len(fake) != len(real):
        raise ValueError(
            f"fake must hold as many tensors as real, {len(real)}, but it holds {len(fake)}"
        )
    return fake


def _form_of(samples: Samples) -> str:
    if isinstance(samples, Tensor):
        return "a tensor"
    return "a dict" if isinstance(samples, Mapping) else "a tuple or list"


def _check_entry(entry: Any, name: str) -> None:
    if isinstance(entry, Tensor):
        if not (entry.is_floating_point() or entry.is_complex() or entry.is_quantized):
            raise TypeError(
                f"{name} must be float64, float32, bfloat16 or float16, but it is {entry.dtype}; "
                "labels and the like cannot be interpolated, nor differentiated: hand them to the "
                "critic by critic_args or critic_kwargs"
            )
    elif isinstance(entry, _SEVERAL):
        raise TypeError(
            f"{name} must be a tensor [B, *], but it is a {type(entry).__name__}; put all tensors "
            "into one tuple, list or dict, without another inside"
        )
    checks.check_samples(entry, name)
