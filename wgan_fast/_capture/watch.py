"""What a captured function reads from elsewhere: looked at in each call, for whether it is changed.

A graph reads tensors where they lie, so a new value of a weight needs no look. But another tensor,
another layer or another number in its place is not in the graph.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

from torch import Tensor, nn

_MISSING: Any = object()

#: Attributes of modules with such values count; others, caches for example, are the module's own.
_NUMBERS = (bool, int, float, complex, str)
_PLAIN = (*_NUMBERS, type(None))

#: What every module has, and is no setting of its own.
_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}

_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_NOT_THE_USERS = ("torch", "wgan_fast", "builtins", "numpy")


class Watch:
    """The names that a function depends on, and what they stood for when it was captured.

    Args:
        function: the function.
        modules: what it calls, as far as is known.
    """

    def __init__(self, function: Any, modules: Iterable[nn.Module]) -> None:
        self._owners: list[dict[str, Any]] = []
        self._names: list[Any] = []
        self._values: list[Any] = []
        self._labels: list[str] = []
        self._cells: list[tuple[Any, Any, str]] = []
        self._seen: dict[int, Any] = {}
        #: All names in the functions, attributes among them; and what these may be attributes of.
        self._read: set[str] = set()
        self._holders: list[tuple[Any, str]] = []
        self._add_function(function)
        for module in modules:
            self._add_modules(module, type(module).__name__)
        while self._holders:
            self._add_contents(*self._holders.pop())

    def holds(self) -> bool:
        """Whether every name stands for the same."""
        found = map(dict.get, self._owners, self._names)
        return all(map(is_, found, self._values)) and all(
            cell.cell_contents is value for cell, value, _ in self._cells
        )

    def accept_equal(self) -> bool:
        """The same, but equal numbers will do; then they are what is watched from now on."""
        now = [owner.get(name) for owner, name in zip(self._owners, self._names, strict=True)]
        cells = [(_contents(cell), value) for cell, value, _ in self._cells]
        pairs = [*zip(now, self._values, strict=True), *cells]
        if not all(_is_same(a, b) for a, b in pairs):
            return False
        self._values = now
        self._cells = [(cell, _contents(cell), label) for cell, _, label in self._cells]
        return True

    def changes(self) -> Iterator[str]:
        """The names that stand for something else, in words."""
        for owner, name, value, label in self._entries():
            if not _is_same(owner.get(name), value):
                yield label
        for cell, value, label in self._cells:
            if not _is_same(_contents(cell), value):
                yield label

    def tensors(self) -> Iterator[tuple[dict[str, Any], str, Tensor, str]]:
        """The names that stand for tensors: where, which, the tensor, and in words."""
        return ((o, n, v, label) for o, n, v, label in self._entries() if isinstance(v, Tensor))

    def numbers(self) -> Iterator[tuple[dict[str, Any], str, Any, str]]:
        """The names that stand for numbers, likewise."""
        return (
            (o, n, v, label) for o, n, v, label in self._entries() if isinstance(v, int | float)
        )

    def put_back(self, is_read: Callable[[Tensor], bool]) -> None:
        """After a run on the side: names stand for the tensors again that they stood for.

        What the function puts under a name and does not read is a result, kept for somebody to
        look at, and is watched no more.

        Args:
            is_read: whether the function reads a tensor.
        """
        kept = []
        for entry in self._entries():
            owner, name, value, _ = entry
            is_changed = isinstance(value, Tensor) and owner.get(name) is not value
            if is_changed:
                owner[name] = value
            if not is_changed or is_read(value):
                kept.append(entry)
        self._owners = [owner for owner, *_ in kept]
        self._names = [name for _, name, *_ in kept]
        self._values = [value for *_, value, _ in kept]
        self._labels = [label for *_, label in kept]

    def _entries(self) -> Iterator[tuple[dict[str, Any], str, Any, str]]:
        return zip(self._owners, self._names, self._values, self._labels, strict=True)

    def _add(self, owner: dict[str, Any], name: str, label: str) -> None:
        self._owners.append(owner)
        self._names.append(name)
        self._values.append(owner.get(name))
        self._labels.append(label)

    def _is_new(self, value: Any) -> bool:
        new = id(value) not in self._seen
        self._seen[id(value)] = value
        return new

    def _add_value(self, value: Any, label: str) -> None:
        """What a value that a function uses depends on in turn."""
        if isinstance(value, nn.Module):
            self._add_modules(value, label)
        elif isinstance(value, _FUNCTIONS):
            if _is_the_users(value):
                self._add_function(value)
        elif _holds_values(value) and self._is_new(value):
            self._holders.append((value, label))

    def _add_contents(self, holder: Any, label: str) -> None:
        """Options and the like: what is in a dict, and the attributes of an object that have a name
        in the functions."""
        if isinstance(holder, dict):
            entries = [(key, f"{label}[{key!r}]") for key in holder]
        else:
            holder = vars(holder)
            entries = [(name, f"{label}.{name}") for name in holder if name in self._read]
        for key, label_of_entry in entries:
            value = holder[key]
            if type(value) in _NUMBERS or isinstance(value, Tensor | nn.Module):
                self._add(holder, key, label_of_entry)
            self._add_value(value, label_of_entry)

    def _add_function(self, function: Any) -> None:
        if isinstance(function, functools.partial):
            self._add_function(function.func)
            for value in (*function.args, *function.keywords.values()):
                self._add_value(value, "an argument of a partial")
        elif isinstance(function, nn.Module):
            self._add_modules(function, type(function).__name__)
        elif isinstance(function, types.MethodType):
            self._add_attributes(function)
            self._add_function(function.__func__)
        elif isinstance(function, types.FunctionType) and self._is_new(function):
            self._add_names(function)

    def _add_names(self, function: types.FunctionType) -> None:
        self._read |= _global_names(function.__code__)
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            value = _contents(cell)
            if value is not _MISSING and _counts(value):
                self._cells.append((cell, value, f"what {name!r} stands for"))
                self._add_value(value, name)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._add_value(value, f"a default of {function.__qualname__}")
        for name in sorted(_global_names(function.__code__)):
            value = function.__globals__.get(name)
            if name in function.__globals__ and _counts(value):
                self._add(function.__globals__, name, f"what {name!r} stands for")
                self._add_value(value, name)

    def _add_attributes(self, method: types.MethodType) -> None:
        attributes = getattr(method.__self__, "__dict__", None)
        if isinstance(method.__self__, nn.Module):
            self._add_modules(method.__self__, type(method.__self__).__name__)
        elif attributes is not None:
            for name in _global_names(method.__func__.__code__) & set(attributes):
                if _counts(attributes[name]):
                    self._add(attributes, name, f"the attribute {name!r}")
                    self._add_value(attributes[name], name)

    def _add_modules(self, root: nn.Module, label: str) -> None:
        for path, module in root.named_modules(prefix=label):
            if not self._is_new(module):
                continue
            for owner in (module._parameters, module._buffers, module._modules):
                for name in owner:
                    self._add(owner, name, f"{path}.{name}")
            attributes = vars(module)
            for name, value in attributes.items():
                if name not in _EVERY_MODULE and type(value) in (*_PLAIN, Tensor):
                    self._add(attributes, name, f"{path}.{name}")


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return _MISSING


def _counts(value: Any) -> bool:
    """Whether another value under a name can make a difference that is not seen otherwise."""
    if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType):
        return False
    return not isinstance(value, types.FunctionType) or _is_the_users(value)


def _is_the_users(function: Any) -> bool:
    return (getattr(function, "__module__", "") or "").partition(".")[0] not in _NOT_THE_USERS


def _holds_values(value: Any) -> bool:
    """Whether a value is a dict, or an object of the user's with attributes."""
    if isinstance(value, dict):
        return True
    if isinstance(value, type | types.ModuleType) or not _is_the_users(type(value)):
        return False
    return isinstance(getattr(value, "__dict__", None), dict)


def _global_names(code: types.CodeType) -> set[str]:
    """All names in a function, of attributes as well, and in the functions in it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and type(a) in _PLAIN and a == b)
