"""Records the calls of PyTorch's operators that a function makes, while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from .._torch_internals import DispatchMode, written_arguments
from .bindings import binding_of
from .draws import Draws
from .errors import refuse
from .tape import Call, Slot, Tape, values_in

_aten = torch.ops.aten

_CAN_RECORD = DispatchMode is not None
_Mode: Any = DispatchMode if _CAN_RECORD else object

#: Operators that give a tensor the memory of another, or memory of another size.
_MOVING = {"aten::set_", "aten::resize_", "aten::resize_as_"}


class Recording(_Mode):
    """A mode that notes every operator, with the tensors that it takes and returns.

    Tensors are followed by identity, memory by its storage. What the function did not make and was
    not given is a constant: it is read where it lies.

    Args:
        generators: those that the function gives to what draws.
        expected: an earlier recording, which this one is compared with call by call.

    Attributes:
        tape: what was recorded.
    """

    def __init__(
        self, generators: Iterable[Any] = (), *, expected: Recording | None = None
    ) -> None:
        super().__init__()
        self.tape = Tape()
        self._expected = expected
        self._slots: Any = WeakTensorKeyDictionary()
        self._storages: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._count = 0
        #: The storages of the arguments and of the constants.
        self._of_inputs: set[int] = set()
        self._of_constants: set[int] = set()
        #: Constants that were written to, and what they were before.
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._draws = Draws(generators)

    def add_input(self, tensor: Tensor) -> None:
        slot = self._new(tensor)
        self.tape.inputs.append(slot)
        self._of_inputs.add(self.tape.storage[slot])

    def slot_of(self, tensor: Tensor) -> int:
        """The slot of a tensor; a new one for a constant."""
        slot = self._slots.get(tensor)
        if slot is None:
            slot = self._add_constant(tensor)
        return slot

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor is from elsewhere, and has been read."""
        return self._slots.get(tensor) in self.tape.constants

    def restore(self) -> None:
        """Gives constants that were written to, and generators, what they had before."""
        with torch.no_grad():
            for constant, value in self._before.values():
                constant.data.copy_(value)
        self._draws.restore()

    def check_draws(self) -> None:
        """No generator must have been set to another state."""
        self._draws.check()

    def check_call(self, index: int, call: Call) -> None:
        """A later recording must make the same call at this place."""
        before = self.tape.calls[index] if index < len(self.tape.calls) else None
        if before is None or before.op is not call.op:
            raise refuse(f"{_NOT_THE_SAME}: {call.op.name()} is called, which was not.")
        now, then = (values_in((each.args, each.kwargs)) for each in (call, before))
        for a, b in zip(now, then, strict=False):
            if isinstance(a, _COMPARED) and repr(a) != repr(b):
                raise refuse(f"{_NOT_THE_SAME}: {call.op.name()} gets {a}, and got {b}.")

    def check_end(self, count: int) -> None:
        """A later recording must have made as many calls."""
        if count != len(self.tape.calls):
            raise refuse(f"{_NOT_THE_SAME}: it calls less of PyTorch.")

    def check_constant(self, slot: int, tensor: Tensor) -> None:
        """A later recording must read the same tensor from elsewhere, or make an equal one."""
        before = self.tape.constants.get(slot)
        if before is tensor:
            return
        if before is None or tensor in self._slots or not _are_equal(before, tensor):
            raise refuse(f"{_NOT_THE_SAME}: it reads another tensor of shape {list(tensor.shape)}.")

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if op is _aten.lift_fresh.default:
            op = _aten.lift_fresh_copy.default  # it may be written to: each time another
        _check(op, args)
        given = self._with_slots((args, kwargs))
        written = self._written(op, args, kwargs)
        is_random = torch.Tag.nondeterministic_seeded in op.tags
        if is_random:
            self._draws.check(kwargs.get("generator"))
        result = op(*args, **kwargs)
        if is_random:
            self._draws.note()
        several = isinstance(result, tuple | list)
        results = list(result) if several else [result]
        if any(isinstance(each, tuple | list) for each in results):
            raise refuse(f"{op} returns nested tensors, which are not followed.")
        outputs = [self._output(each) if isinstance(each, Tensor) else None for each in results]
        tensors = [*_tensors_in((args, kwargs)), *filter(_is_tensor, results)]
        if op in _FILLED_LIKE and result.is_contiguous():
            op, args, kwargs = _as_filled(op, args, kwargs, result)
            given = args, kwargs
        call = Call(
            op=op,
            args=given[0],
            kwargs=given[1],
            outputs=outputs,
            several=several,
            written=written,
            is_random=is_random,
            bytes=sum(t.numel() * t.element_size() for t in tensors),
            run=op if self._expected else binding_of(op, args, kwargs),
        )
        if self._expected is not None:
            self._expected.check_call(len(self.tape.calls), call)
        self.tape.calls.append(call)
        self.tape.written |= written
        self.tape.reshapes |= torch.Tag.inplace_view in op.tags
        return result

    def _with_slots(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Slot(self.slot_of(value))
        if isinstance(value, tuple | list):
            return type(value)(self._with_slots(each) for each in value)
        if isinstance(value, dict):
            return {key: self._with_slots(each) for key, each in value.items()}
        return value

    def _new(self, tensor: Tensor) -> int:
        slot = len(self.tape.storage)
        self._slots[tensor] = slot
        self.tape.storage.append(self._storage_of(tensor))
        self.tape.devices.append(tensor.device.type)
        return slot

    def _output(self, tensor: Tensor) -> int:
        slot = self._slots.get(tensor)
        return self._new(tensor) if slot is None else slot

    def _add_constant(self, tensor: Tensor) -> int:
        if tensor.grad_fn is not None:
            raise refuse(
                f"a tensor of shape {list(tensor.shape)} was computed outside of the function and "
                "has a graph, which would be the same at every call: pass it as an argument, or "
                "detach it. If it was computed inside, then by forward-mode differentiation of "
                "torch.func (jacfwd, hessian): take jacrev."
            )
        if tensor.layout is not torch.strided:
            raise refuse(
                f"a tensor of shape {list(tensor.shape)} from outside of the function has the "
                f"layout {tensor.layout}, and it cannot be told whether it is changed between "
                "calls: take its .to_dense(), or make it in the function from dense tensors."
            )
        count = self._count
        slot = self._new(tensor)
        storage = self.tape.storage[slot]
        if storage < count and storage not in self._of_constants | self._of_inputs:
            raise refuse(
                f"a tensor of shape {list(tensor.shape)} shares memory with one that was computed "
                "here, but PyTorch does not tell how it came by it (by an assignment to .data?)."
            )
        self._of_constants.add(storage)
        self.tape.constants[slot] = tensor
        if self._expected is not None:
            self._expected.check_constant(slot, tensor)
        return slot

    def _storage_of(self, tensor: Tensor) -> int:
        if tensor.layout is not torch.strided:
            self._count += 1
            return self._count - 1
        storage = tensor.untyped_storage()
        number = self._storages.get(storage)
        if number is None:
            number = self._storages[storage] = self._count
            self._count += 1
        return number

    def _written(self, op: Any, args: Any, kwargs: Any) -> frozenset[int]:
        storages = set()
        for index, name in written_arguments(op):
            value = args[index] if index < len(args) else kwargs.get(name)
            for tensor in _tensors_in(value):
                slot = self.slot_of(tensor)
                storage = self.tape.storage[slot]
                if storage in self._of_inputs:
                    raise refuse(
                        f"an argument of shape {list(tensor.shape)} is changed in place, by "
                        f"{op.name()}; clone it first."
                    )
                if storage in self._of_constants:
                    self._keep(storage)
                storages.add(storage)
        if storages and op.name() in _MOVING:
            raise refuse(f"{op.name()} gives a tensor other memory.")
        return frozenset(storages)

    def _keep(self, storage: int) -> None:
        for slot, constant in self.tape.constants.items():
            if self.tape.storage[slot] == storage and slot not in self._before:
                self._before[slot] = constant, constant.detach().clone()


_NOT_THE_SAME = (
    "called once more with the same arguments, weights and random numbers, the function does "
    "something else"
)
#: Kinds of arguments that are told by what they print; others are other objects in every call.
_COMPARED = (Slot, bool, int, float, complex, str, torch.dtype)


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, 0, 0, equal_nan=True)


#: Their results depend on nothing but the shape of what they are given.
_FILLED_LIKE = {
    _aten.ones_like.default: 1,
    _aten.zeros_like.default: 0,
    _aten.full_like.default: None,
    _aten.new_ones.default: 1,
    _aten.new_zeros.default: 0,
    _aten.new_full.default: None,
}


def _as_filled(op: Any, args: Any, kwargs: Any, result: Tensor) -> tuple[Any, Any, Any]:
    """The call of ``torch.full`` that gives the same."""
    value = _FILLED_LIKE[op]
    if value is None:
        value = args[-1] if not isinstance(args[-1], Tensor) else kwargs["fill_value"]
    settings = {"dtype": result.dtype, "device": result.device}
    return _aten.full.default, (list(result.shape), value), settings


def _check(op: Any, args: tuple[Any, ...]) -> None:
    """Refuses what depends on values."""
    tags = op.tags
    if torch.Tag.data_dependent_output in tags:
        raise refuse(
            "a value of a tensor is looked at (by .item(), float(), bool() or an if), which would "
            "be the same at every call: compute with tensors, such as torch.where."
        )
    if torch.Tag.dynamic_output_shape in tags:
        if op is _aten.index.Tensor and not any(map(_is_mask, args[1])):
            return
        raise refuse(
            f"the shape of what {op.name()} returns depends on values: multiply by the mask, or "
            "take torch.where."
        )


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    return filter(_is_tensor, values_in(value))


class Refusing(TorchFunctionMode):
    """A mode that refuses what operators do not see: values that leave for Python."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        reason = _REFUSED.get(func)
        if reason is not None:
            raise refuse(reason)
        return func(*args, **(kwargs or {}))


_LEAVES = "the values of a tensor leave for {}, which would be the same at every call."
_data: Any = Tensor.data  # a descriptor
_REFUSED: dict[Any, str] = {
    Tensor.tolist: _LEAVES.format("Python, by .tolist()"),
    Tensor.numpy: _LEAVES.format("NumPy"),
    Tensor.__array__: _LEAVES.format("NumPy"),
    Tensor.backward: "backward() is called; the captured function's result is to be "
    "differentiated, outside of it (and in it, torch.autograd.grad works).",
    torch.autograd.backward: "torch.autograd.backward() is called; the captured function's result "
    "is to be differentiated, outside of it.",
    _data.__set__: "a tensor gets other memory by an assignment to .data; change it in "
    "place, under torch.no_grad().",
}


@contextmanager
def recording(mode: Recording) -> Iterator[None]:
    """A context in which operators are recorded."""
    with Refusing(), mode:
        yield


def can_record() -> bool:
    return _CAN_RECORD
