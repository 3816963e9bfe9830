"""What a function reads from elsewhere, as far as its code tells: names, and where they are kept.

Python has no list of what a function depends on. Its code names globals, variables of functions
around it, and attributes; the functions and modules behind these have code of their own. All that
can be reached in this way is found, down to numbers and tensors in dicts, lists and objects.
"""

from __future__ import annotations

import collections
import functools
import inspect
import sys
import types
from collections.abc import Iterable, Sized
from typing import Any, NamedTuple

import torch
from torch import nn

from .._penalise.kept import is_writable_array
from .methods import NAME

#: What every module has, and is no setting of its own.
_EVERY_MODULE = (frozenset(vars(nn.Module())) | {NAME}) - {"training"}

#: Where modules keep the hooks that are called with them.
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)

_SEQUENCES = list | collections.deque

#: Dicts, lists, sets and arrays with more entries are data, and not settings.
_ENTRIES = 1000

#: Whose code is not looked at, and whose objects are not.
_LIBRARIES = frozenset({"torch", "wgan_fast", "numpy", "builtins"})
_NOT_THE_USERS = (_LIBRARIES | sys.stdlib_module_names) - {"__main__"}

#: Methods that are called without being named.
_CALLED = frozenset({"__call__", "forward"})


class Place(NamedTuple):
    """Where a value is kept: an entry of a dict or list, a variable of a function around, or an
    attribute.

    Attributes:
        owner: the dict, list, cell or object; or a set or array, all of which is read.
        name: the key, index or name; None for a cell, set or array.
        label: the same in words.
    """

    owner: Any
    name: Any
    label: str

    def read(self) -> Any:
        """The value; None if there is none."""
        owner, name = self.owner, self.name
        if isinstance(owner, dict):
            return owner.get(name)
        if isinstance(owner, _SEQUENCES):
            return owner[name] if name < len(owner) else None
        if isinstance(owner, types.CellType):
            return _contents(owner)
        if isinstance(owner, set):
            return frozenset(owner)
        if is_writable_array(owner):
            return owner.tobytes()
        return getattr(owner, name, None)

    def write(self, value: Any) -> None:
        owner, name = self.owner, self.name
        if isinstance(owner, dict | _SEQUENCES):
            owner[name] = value
        elif isinstance(owner, types.CellType):
            owner.cell_contents = value
        else:
            setattr(owner, name, value)


class Names:
    """The places that a function reads from.

    Args:
        function: the function.
        others: the modules that it calls, as far as is known, and the values that it is given.

    Attributes:
        places: each once.
        sized: dicts and lists whose length counts, as what is added to them would be read.
    """

    def __init__(self, function: Any, others: Iterable[Any]) -> None:
        self._places: dict[tuple[int, Any], Place] = {}
        self._sized: dict[int, Sized] = {}
        #: All names in the code that was looked at, of attributes as well.
        self._read: set[str] = set(_CALLED)
        #: What these may be attributes of, and dicts and lists.
        self._holders: dict[int, tuple[Any, str]] = {}
        self._functions: dict[int, Any] = {}
        self._add_value(function, getattr(function, "__name__", "the function"))
        for each in others:
            self._add_value(each, type(each).__name__)
        known = -1
        while known < len(self._read) + len(self._holders):  # what is found may have more in it
            known = len(self._read) + len(self._holders)
            for holder, label in list(self._holders.values()):
                self._look_into(holder, label)

    @property
    def places(self) -> list[Place]:
        return list(self._places.values())

    @property
    def sized(self) -> list[Sized]:
        return list(self._sized.values())

    def _add(self, owner: Any, name: Any, label: str) -> None:
        """A place whose value counts, and what that depends on in turn."""
        place = Place(owner, name, label)
        value = place.read()
        if _counts(value):
            self._places.setdefault((id(owner), name), place)
        self._add_value(value, label)

    def _add_value(self, value: Any, label: str) -> None:
        if isinstance(value, functools.partial):
            for each in (value.func, *value.args, *value.keywords.values()):
                self._add_value(each, label)
        elif isinstance(value, types.MethodType):
            self._add_value(value.__self__, label)
            self._add_value(value.__func__, label)
        elif isinstance(value, types.FunctionType):
            if _is_the_users(value) and id(value) not in self._functions:
                self._functions[id(value)] = value
                self._read_code(value)
        elif _can_hold(value):
            self._holders.setdefault(id(value), (value, label))

    def _read_code(self, function: types.FunctionType) -> None:
        """The names in a function, and what they stand for."""
        names = _names_in(function.__code__)
        self._read |= names
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            self._add(cell, None, name)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._add_value(value, f"a default of {function.__qualname__}")
        for name in sorted(names & set(function.__globals__)):
            self._add(function.__globals__, name, name)

    def _look_into(self, holder: Any, label: str) -> None:
        if isinstance(holder, nn.Module):
            self._look_into_module(holder, label)
        elif isinstance(holder, dict):
            self._look_into_entries(holder, holder, label)
        elif isinstance(holder, _SEQUENCES):
            self._look_into_entries(holder, range(len(holder)), label)
        elif isinstance(holder, set) or is_writable_array(holder):
            size = len(holder) if isinstance(holder, set) else holder.size
            if size <= _ENTRIES:
                self._places.setdefault((id(holder), None), Place(holder, None, label))
        elif isinstance(holder, tuple):
            for index, value in enumerate(holder[:_ENTRIES]):
                self._add_value(value, f"{label}[{index}]")
        else:
            attributes = getattr(holder, "__dict__", {})
            names = set(_own_settings(holder))
            if not (names and _is_of_a_library(holder)):
                names |= self._read
            for name in sorted(names & set(attributes)):
                owner = attributes if isinstance(attributes, dict) else holder
                self._add(owner, name, f"{label}.{name}")
            self._look_into_class(holder, set(attributes), label)

    def _look_into_entries(self, holder: Any, names: Iterable[Any], label: str) -> None:
        if len(holder) > _ENTRIES:
            return
        for name in list(names):
            self._add(holder, name, f"{label}[{name!r}]")
            if (id(holder), name) in self._places:
                self._sized[id(holder)] = holder

    def _look_into_module(self, module: nn.Module, label: str) -> None:
        if isinstance(module, torch.jit.ScriptModule):  # it keeps nothing in dicts of Python
            parameters, buffers = module.named_parameters, module.named_buffers
            for name, _ in (*parameters(recurse=False), *buffers(recurse=False)):
                self._add(module, name, f"{label}.{name}")
            self._add(module, "training", f"{label}.training")
            for name, child in module.named_children():
                self._add_value(child, f"{label}.{name}")
            return
        attributes = vars(module)
        for owner in (module._parameters, module._buffers, module._modules):
            for name in owner:
                self._add(owner, name, f"{label}.{name}")
        for name in attributes.keys() - _EVERY_MODULE:
            self._add(attributes, name, f"{label}.{name}")
        # Somebody may put another method in the place of the class's.
        forward = Place(attributes, "forward", f"{label}.forward")
        self._places.setdefault((id(attributes), "forward"), forward)
        self._sized[id(module._modules)] = module._modules
        for kind in _HOOKS:
            called = attributes[kind]
            self._sized[id(called)] = called
            for name in called:
                self._add(called, name, f"{label}.{kind}[{name!r}]")
        self._look_into_class(module, set(attributes), label)

    def _look_into_class(self, holder: Any, own: set[str], label: str) -> None:
        """Methods and properties, whose code is read; and settings of the class and in slots."""
        kind = holder if isinstance(holder, type) else type(holder)
        if isinstance(holder, types.ModuleType) or not _is_the_users(kind):
            return
        for name in sorted(self._read - own):
            value = inspect.getattr_static(kind, name, None)
            if isinstance(value, property):
                self._add_value(value.fget, label)
            elif isinstance(value, staticmethod | classmethod):
                self._add_value(value.__func__, label)
            elif isinstance(value, types.FunctionType) or _own_settings(value):
                self._add_value(value, label)
            elif hasattr(kind, name) and _is_kept(value):
                self._add(holder, name, f"{label}.{name}")


def _is_kept(member: Any) -> bool:
    """Whether a member of a class is a value, of its own or in the slots of its objects."""
    return isinstance(member, types.MemberDescriptorType) or not hasattr(member, "__get__")


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _counts(value: Any) -> bool:
    """Whether another value in a place can make a difference; modules and classes stay."""
    return not isinstance(value, types.ModuleType | type)


def _is_the_users(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").partition(".")[0] not in _NOT_THE_USERS


def _can_hold(value: Any) -> bool:
    """Whether there may be settings in a value."""
    if isinstance(value, nn.Module | dict | _SEQUENCES | set | tuple) or is_writable_array(value):
        return True
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0] not in _NOT_THE_USERS
    if isinstance(value, type):
        return _is_the_users(value)
    return (
        isinstance(value, torch.optim.Optimizer)
        or not _is_of_a_library(value)
        or bool(_own_settings(value))
    )


def _is_of_a_library(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in _LIBRARIES


def _own_settings(value: Any) -> tuple[str, ...]:
    """The attributes that count of an object of this package, whose code is not looked at."""
    return getattr(type(value), "_watched_by_captured", ())


def _names_in(code: types.CodeType) -> set[str]:
    """All names in a function, of attributes as well, and in the functions in it."""
    names = set(code.co_names)
    if "getattr" in names:
        names |= {each for each in code.co_consts if isinstance(each, str)}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names
