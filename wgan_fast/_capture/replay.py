"""Repeats the calls of a tape, one after the other, from one straight function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._torch_internals import below_autograd
from .simplify import is_constant_fill, is_view_of_constant
from .tape import Call, Slot, Tape, map_slots

#: Tensors that always hold the same numbers are kept, if they are not larger than this in bytes.
_KEPT = 2**16

Run = Callable[[Sequence[Tensor]], list[Tensor]]


class Replay:
    """The calls of a tape, made anew with other arguments.

    What looks at a parameter in another shape is looked at once, and again where the parameter has
    moved in memory.

    Args:
        tape: the calls; every tensor that is not needed any more is let go of at once.
    """

    name = "replay"

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._names: dict[str, Any] = {f"t{slot}": t for slot, t in tape.constants.items()}
        self._views, calls = self._set_aside(tape)
        self._has_looked = False
        self._run = self._compiled(calls)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results, in their order; gradients that there are none of are left out."""
        if not self._has_looked:
            self._look()
        if below_autograd is None:
            with torch.no_grad():
                return self._run(inputs)
        with torch.set_grad_enabled(self._tape.grad_mode), below_autograd():
            return self._run(inputs)

    def moved(self) -> None:
        """Constants lie elsewhere than before."""
        self._has_looked = False

    def _set_aside(self, tape: Tape) -> tuple[list[Call], list[Call]]:
        """The calls that look at constants, and those that are to be made every time."""
        views, calls = [], []
        fixed: set[int] = set()
        constant = set(tape.constants)
        values = dict(tape.constants)
        handed_out = {tape.storage[slot] for slot in tape.outputs if slot is not None}
        for call in tape.calls:
            if is_view_of_constant(call, tape, constant):
                views.append(call)
                constant.update(o for o in call.outputs if o is not None)
            elif (
                _is_small(call)
                and is_constant_fill(call, tape, fixed)
                and handed_out.isdisjoint(tape.storage[o] for o in call.outputs if o is not None)
            ):
                with torch.no_grad():
                    _execute(call, values)
                fixed.update(o for o in call.outputs if o is not None)
            else:
                calls.append(call)
        self._names.update((f"t{slot}", value) for slot, value in values.items())
        self._names.update(dict.fromkeys(f"t{o}" for call in views for o in call.outputs))
        return views, calls

    def _look(self) -> None:
        values = dict(self._tape.constants)
        with torch.no_grad():
            for call in self._views:
                _execute(call, values)
        self._has_looked = True
        self._names.update((f"t{slot}", value) for slot, value in values.items())

    def _compiled(self, calls: list[Call]) -> Run:
        source = _source(self._tape, calls, self._names)
        exec(compile(source, "<captured by wgan_fast>", "exec"), self._names)
        return self._names["run"]


def _is_small(call: Call) -> bool:
    return call.bytes <= _KEPT


def _execute(call: Call, values: dict[int, Tensor]) -> None:
    args = map_slots(lambda slot: values[slot.index], call.args)
    kwargs = map_slots(lambda slot: values[slot.index], call.kwargs)
    result = call.run(*args, **kwargs)
    for slot, value in zip(call.outputs, result if call.several else [result], strict=True):
        if slot is not None:
            values[slot] = value


def _source(tape: Tape, calls: list[Call], names: dict[str, Any]) -> str:
    """The text of a function that makes the calls; what it needs is put among the names."""
    objects = _Objects(names)
    last = {slot: number for number, call in enumerate(calls) for slot in call.inputs()}
    kept = {slot for slot in tape.outputs if slot is not None}
    lines = ["def run(inputs):"]
    if tape.inputs:
        lines.append(f"    {', '.join(f't{slot}' for slot in tape.inputs)}, = inputs")
    for number, call in enumerate(calls):
        arguments = [objects.text(each) for each in call.args]
        arguments += [f"{key}={objects.text(each)}" for key, each in call.kwargs.items()]
        given = {None, *call.inputs()}  # what is changed in place has its name
        outputs = ["_" if o in given else f"t{o}" for o in call.outputs]
        target = f"[{', '.join(outputs)}]" if call.several else outputs[0]
        lines.append(f"    {target} = {objects.name(call.run)}({', '.join(arguments)})")
        unread = [o for o in call.outputs if o not in given and o not in last and o not in kept]
        done = [slot for slot in set(call.inputs()) if last[slot] == number and slot not in kept]
        done = [slot for slot in done if f"t{slot}" not in names]
        if unread or done:
            lines.append(f"    {' = '.join(f't{slot}' for slot in [*done, *unread])} = None")
    results = [f"t{slot}" for slot in tape.outputs if slot is not None]
    lines.append(f"    return [{', '.join(results)}]")
    return "\n".join(lines)


class _Objects:
    """Names for what has no text: operators, generators, devices."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._known: dict[int, str] = {}

    def name(self, value: Any) -> str:
        name = self._known.get(id(value))
        if name is None:
            name = self._known[id(value)] = f"o{len(self._known)}"
            self._names[name] = value  # lives on, so that nothing else gets its identity
        return name

    def text(self, value: Any) -> str:
        if type(value) is Slot:
            return f"t{value.index}"
        if type(value) is list:
            return f"[{', '.join(map(self.text, value))}]"
        if type(value) is tuple:
            return f"({''.join(self.text(each) + ', ' for each in value)})"
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        return self.name(value)


__all__ = ["Replay", "Run"]
