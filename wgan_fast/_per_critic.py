"""What was found out at the first calls of a critic, for its later ones."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")

#: What is remembered of one critic, by the subject; looked up once in a call.
Memory = dict["PerCritic[Any]", Any]


def behind_partials(critic: Any) -> Any:
    """The module or function that a ``functools.partial`` calls, or a partial of one."""
    while isinstance(critic, functools.partial):
        critic = critic.func
    return critic


_memories: weakref.WeakKeyDictionary[Any, dict[Any, Memory]] = weakref.WeakKeyDictionary()


def memory_of(critic: Callable[..., Any], module: torch.nn.Module | None) -> Memory:
    """The memory of a critic; critics are not kept alive.

    A critic is known by the module that it uses, and by the code that it calls it with: two methods
    of one module are two critics, and two lambdas written on one line are one.
    """
    if critic is module:  # as in most calls
        owner, code = module, type(critic)
    else:
        code = _code_of(critic)
        # What lives as long as the critic does: a lambda may be another one at every call.
        owner = module_behind(critic, module)
        if owner is None:
            owner = code
    memories = _memories.get(owner)
    if memories is None:
        memories = _memories[owner] = {}
    memory = memories.get(code)
    if memory is None:
        memory = memories[code] = {}
    return memory


class PerCritic(Generic[T]):
    """A subject on which there is a value for each critic."""

    def get(self, memory: Memory) -> T | None:
        """The value, or None if none was put."""
        return memory.get(self)

    def put(self, memory: Memory, value: T) -> None:
        memory[self] = value


def module_behind(critic: Any, module: torch.nn.Module | None) -> torch.nn.Module | None:
    """The module that a critic uses, as far as that can be seen: a function closes over it."""
    if module is not None:
        return module
    for cell in getattr(behind_partials(critic), "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # it may be empty
            if isinstance(cell.cell_contents, torch.nn.Module):
                return cell.cell_contents
    return None


def _code_of(critic: Any) -> Any:
    """What tells two critics of the same module apart."""
    critic = behind_partials(critic)
    if isinstance(critic, torch.nn.Module):
        return type(critic)
    return getattr(critic, "__code__", type(critic))
