"""What was found out at the first calls of a critic, for its later ones."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class PerCritic(Generic[T]):
    """A value for each critic; critics are not kept alive.

    A critic is known by the module that it uses, and by the code that it calls it with: two methods
    of one module are two critics, and two lambdas written on one line are one.
    """

    def __init__(self) -> None:
        self._values: weakref.WeakKeyDictionary[Any, dict[Any, T]] = weakref.WeakKeyDictionary()

    def get(self, critic: Callable[..., Any], module: torch.nn.Module | None) -> T | None:
        """The value of a critic, or None."""
        values = self._values.get(_owner_of(critic, module))
        return None if values is None else values.get(_code_of(critic))

    def put(self, critic: Callable[..., Any], module: torch.nn.Module | None, value: T) -> None:
        """Keeps a value for a critic, for as long as the critic lives."""
        self._values.setdefault(_owner_of(critic, module), {})[_code_of(critic)] = value


def _owner_of(critic: Any, module: torch.nn.Module | None) -> Any:
    """What lives as long as the critic does: a lambda may be another one at every call."""
    if module is not None:
        return module
    if isinstance(critic, functools.partial):
        return _owner_of(critic.func, None)
    for cell in getattr(critic, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # it may be empty
            if isinstance(cell.cell_contents, torch.nn.Module):
                return cell.cell_contents
    return _code_of(critic)


def _code_of(critic: Any) -> Any:
    """What tells two critics of the same module apart."""
    if isinstance(critic, functools.partial):
        return _code_of(critic.func)
    if isinstance(critic, torch.nn.Module):
        return type(critic)
    return getattr(critic, "__code__", type(critic))
