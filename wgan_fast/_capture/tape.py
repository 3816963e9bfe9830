"""The calls that a function made of PyTorch's operators, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for a tensor among the arguments of a call."""

    index: int

    def __repr__(self) -> str:
        return f"t{self.index}"


@dataclass(slots=True)
class Call:
    """One call of an operator.

    Attributes:
        op: the operator.
        args, kwargs: as it was called, with a slot in the place of each tensor.
        outputs: the slots of what it returned; None where that was no tensor.
        several: whether it returned a sequence.
        written: the numbers of the storages that it writes to.
        is_random: whether it draws.
        bytes: of its tensors, read and written.
        run: what does the same in less time.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[int | None]
    several: bool
    written: frozenset[int]
    is_random: bool
    bytes: int
    run: Callable[..., Any]

    def inputs(self) -> list[int]:
        return [slot.index for slot in slots_in((self.args, self.kwargs))]


@dataclass
class Tape:
    """What was recorded.

    Attributes:
        calls: in order.
        inputs: the slots of the arguments.
        constants: the tensors from elsewhere, read where they lie: parameters, buffers and others.
        outputs: the slots of the results; None for a gradient that there is none of.
        storage: for each slot, the number of its storage.
        devices: for each slot, the type of its device.
        written: the numbers of the storages that are written to.
        grad_mode: whether gradients were recorded, which some kernels look at.
        reshapes: whether a call changes the shape of a tensor in place.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)
    outputs: list[int | None] = field(default_factory=list)
    storage: list[int] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    written: set[int] = field(default_factory=set)
    grad_mode: bool = field(default_factory=torch.is_grad_enabled)
    reshapes: bool = False

    def state(self) -> list[Tensor]:
        """The constants that the calls write to."""
        return [t for slot, t in self.constants.items() if self.storage[slot] in self.written]

    def generators(self) -> list[Any]:
        """The random generators that the calls were given."""
        given = [call.kwargs.get("generator") for call in self.calls]
        return list({id(each): each for each in given if each is not None}.values())

    @property
    def bytes(self) -> int:
        return sum(call.bytes for call in self.calls)


def values_in(value: Any) -> Iterator[Any]:
    """What is in nested tuples, lists and dicts."""
    if isinstance(value, tuple | list):
        for each in value:
            yield from values_in(each)
    elif isinstance(value, dict):
        yield from values_in(list(value.values()))
    else:
        yield value


def slots_in(value: Any) -> Iterator[Slot]:
    return (each for each in values_in(value) if type(each) is Slot)


def map_slots(function: Callable[[Slot], Any], value: Any) -> Any:
    """The same nested tuples, lists and dicts, with every slot mapped."""
    if type(value) is Slot:
        return function(value)
    if type(value) in (tuple, list):
        return type(value)(map_slots(function, each) for each in value)
    if type(value) is dict:
        return {key: map_slots(function, each) for key, each in value.items()}
    return value
