"""The same results from fewer calls, to the last bit.

Left out is what nobody reads, what another call has computed already, and what only gives a tensor
another name. Nothing is computed otherwise, and nothing that draws or writes is moved.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from .tape import Call, Slot, Tape, map_slots

_aten = torch.ops.aten

#: What returns its first argument, for whoever does not record gradients.
_NAMES_ONLY = {_aten.detach.default, _aten.alias.default}
#: They give the same at every call.
_FILLED = {
    _aten.ones.default,
    _aten.zeros.default,
    _aten.full.default,
    _aten.scalar_tensor.default,
    _aten.arange.default,
    _aten.arange.start,
    _aten.arange.start_step,
    _aten.eye.default,
    _aten.lift_fresh_copy.default,
}


def simplified(tape: Tape) -> Tape:
    """The tape without what it can do without."""
    if tape.reshapes:  # a name more may be all that keeps the old shape
        return tape
    calls = without_repeats(tape)
    return _with_calls(tape, without_unread(tape, calls))


def is_constant_fill(call: Call, tape: Tape, fixed: set[int]) -> bool:
    """Whether a call always gives the same tensor, which nobody writes to.

    Args:
        call: which.
        tape: it is in.
        fixed: slots that always hold the same tensor.
    """
    if call.is_random or call.written or not _unwritten(call, tape):
        return False
    if call.op is _aten.lift_fresh_copy.default:
        return call.inputs()[0] in tape.constants
    return call.op in _FILLED or (bool(call.inputs()) and fixed.issuperset(call.inputs()))


def is_view_of_constant(call: Call, tape: Tape, constant: set[int]) -> bool:
    """Whether all that a call does is to look at constants in another shape."""
    inputs = call.inputs()
    return bool(inputs) and constant.issuperset(inputs) and _is_view(call, tape)


def _is_view(call: Call, tape: Tape) -> bool:
    if call.written or not call.inputs():
        return False
    storages = {tape.storage[slot] for slot in call.inputs()}
    return all(o is not None and tape.storage[o] in storages for o in call.outputs)


def _unwritten(call: Call, tape: Tape) -> bool:
    slots = [*call.inputs(), *(o for o in call.outputs if o is not None)]
    return not any(tape.storage[slot] in tape.written for slot in slots)


def without_repeats(tape: Tape) -> list[Call]:
    """The calls, each made once, and none for a name; later ones read what is there."""
    same: dict[int, int] = {}
    transposed: dict[int, int] = {}

    def resolve(slot: Slot) -> Slot:
        return Slot(same.get(slot.index, slot.index))

    calls: list[Call] = []
    known: dict[Any, Call] = {}
    for call in tape.calls:
        call.args, call.kwargs = map_slots(resolve, call.args), map_slots(resolve, call.kwargs)
        if call.op in _NAMES_ONLY and _is_view(call, tape):
            same[_only(call.outputs)] = call.inputs()[0]
            continue
        if call.op is _aten.t.default:
            (before,) = call.inputs()
            if before in transposed:
                same[_only(call.outputs)] = transposed[before]
                continue
            transposed[_only(call.outputs)] = before
        view = _is_view(call, tape)
        if call.is_random or call.written or not (view or _unwritten(call, tape)):
            calls.append(call)
            continue
        earlier = known.setdefault(_key(call), call)
        if earlier is call:
            calls.append(call)
        else:
            for ours, theirs in zip(call.outputs, earlier.outputs, strict=True):
                if ours is not None and theirs is not None:
                    same[ours] = theirs
    tape.outputs = [None if o is None else same.get(o, o) for o in tape.outputs]
    return calls


def _only(outputs: list[int | None]) -> int:
    (output,) = outputs
    assert output is not None
    return output


def _key(call: Call) -> tuple[Any, ...]:
    return call.op, _hashable(call.args), _hashable(call.kwargs)


def _hashable(value: Any) -> Any:
    """Equal for equal arguments, and 1 is neither True nor 1.0, nor 0.0 -0.0."""
    if isinstance(value, tuple | list):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in value.items())
    return type(value), repr(value) if isinstance(value, float) else value


def without_unread(tape: Tape, calls: list[Call]) -> list[Call]:
    """The calls whose results somebody reads, or that draw, or write to what remains."""
    lasting = {tape.storage[slot] for slot in tape.constants}
    live = {slot for slot in tape.outputs if slot is not None}
    storages = {tape.storage[slot] for slot in live} | lasting
    kept: list[Call] = []
    for call in reversed(calls):
        writes = not storages.isdisjoint(call.written)
        if call.is_random or writes or any(output in live for output in call.outputs):
            kept.append(call)
            live.update(call.inputs())
            storages.update(tape.storage[slot] for slot in call.inputs())
    return kept[::-1]


def _with_calls(tape: Tape, calls: list[Call]) -> Tape:
    used = {slot for call in calls for slot in call.inputs()}
    used.update(slot for slot in tape.outputs if slot is not None)
    constants = {slot: t for slot, t in tape.constants.items() if slot in used}
    return dataclasses.replace(tape, calls=calls, constants=constants)
