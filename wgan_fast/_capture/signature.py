"""What a captured graph is made for: the arguments, and PyTorch's settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor

from .._arguments import describe
from .._torch_internals import flatten, unflatten

#: PyTorch's settings that a graph depends on: (is recorded, inference, autocast on the CPU and on
#: the device with its dtypes, default dtype, deterministic).
Settings = tuple[Any, ...]

_SETTINGS = (
    "torch.is_grad_enabled()",
    "torch.is_inference_mode_enabled()",
    "torch.get_default_dtype()",
    "torch.are_deterministic_algorithms_enabled()",
    "autocast",
)
_TENSORS = (Tensor, torch.nn.Parameter)


def _autocast_devices() -> tuple[str, ...]:
    found = torch.accelerator.current_accelerator(check_available=True)
    has_autocast = found is not None and torch.amp.is_autocast_available(found.type)
    return ("cpu", found.type) if found is not None and has_autocast else ("cpu",)


#: The kinds of devices for which autocast is looked at: the CPU, and this machine's accelerator.
AUTOCAST_DEVICES = _autocast_devices()


def settings_now() -> Settings:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        [
            (kind, torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled())
            for kind in AUTOCAST_DEVICES
            if torch.is_autocast_enabled(kind)
        ],
    )


def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The values among the arguments, and the structure that they had."""
    if not kwargs:
        for each in args:
            if type(each) is not Tensor:
                break
        else:
            return list(args), len(args)
    return flatten((args, kwargs))


def join(values: list[Any], structure: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with other values."""
    if type(structure) is int:
        return tuple(values), {}
    return unflatten(values, structure)


def described(values: list[Any]) -> list[Any]:
    """What a graph depends on of each value; equal where the same graph will do.

    Raises:
        TypeError: if a value is neither a dense tensor nor can be compared.
    """
    return [_described(value, index) for index, value in enumerate(values)]


def _described(value: Any, index: int) -> Any:
    if type(value) in _TENSORS:
        if value.layout is not torch.strided or value.is_nested:
            _refuse_layout(value, index)
        # A comparison of these takes a microsecond.
        return value.shape, value.dtype, value.requires_grad, value.device, value.stride()
    _check(value)
    return type(value), value


def _refuse_layout(tensor: Tensor, index: int) -> NoReturn:
    what = "it is a nested one" if tensor.is_nested else f"its layout is {tensor.layout}"
    way_out = "its parts" if tensor.is_nested else "its .to_dense()"
    raise TypeError(
        f"argument {index} of a captured function must be a dense tensor, but {what}; pass "
        f"{way_out}"
    )


def _check(value: Any) -> None:
    if isinstance(value, Tensor):
        raise TypeError(
            f"an argument of a captured function must be a plain tensor, but it is a "
            f"{type(value).__name__}; pass what it is made of"
        )
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            "an argument of a captured function must be a tensor, or a value that can be hashed to "
            f"be compared from call to call, or a tuple, list or dict of these, but it is "
            f"{describe(value)}; make a tensor of it"
        ) from None


def aliases(values: list[Any]) -> tuple[int, ...] | None:
    """For each value the index of the first that is the same tensor; None if all are different."""
    identities = [id(value) for value in values]
    if len(set(identities)) == len(identities):
        return None
    return tuple(map(identities.index, identities))


def tensors_of(values: list[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]


_ASPECTS = ("shape", "dtype", "requires_grad", "device", "strides")


def changes(
    names: list[str],
    old: tuple[Settings, list[Any]],
    new: tuple[Settings, list[Any]],
) -> Iterator[str]:
    """What is different between two settings and described values, in words."""
    for what, before, now in zip(_SETTINGS, old[0], new[0], strict=True):
        if before != now:
            yield what
    if len(old[1]) != len(new[1]):
        yield "the number of its arguments"
        return
    for name, before, now in zip(names, old[1], new[1], strict=True):
        if before == now:
            continue
        if len(before) == len(now) == len(_ASPECTS):
            yield from (
                f"the {aspect} of {name}"
                for aspect, a, b in zip(_ASPECTS, before, now, strict=True)
                if a != b
            )
        else:
            yield f"the value of {name}"
