"""What was found out at the first calls of a critic, for its later ones."""

from __future__ import annotations

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


#: By the identity of what a critic is known by, and by its code; an entry goes with the former.
_memories: dict[int, tuple[weakref.ref[Any], dict[Any, Memory]]] = {}


def memory_of(critic: Callable[..., Any], module: torch.nn.Module | None) -> Memory:
    """The memory of a critic; critics are not kept alive.

    A critic is known by the modules that it uses, or by the object that it is or is a method of,
    and by the code that it calls it with: two methods of one module are two critics, and two
    lambdas written on one line are one.
    """
    if critic is module:  # as in most calls
        owner, code = module, type(critic)
    else:
        owner, code = _known_by(critic, module)
    found = _memories.get(id(owner))
    memories = _memories_for(owner) if found is None else found[1]
    memory = memories.get(code)
    if memory is None:
        _forget_the_dead(memories)
        memory = memories[code] = {}
    return memory


def _forget_the_dead(memories: dict[Any, Memory]) -> None:
    """A function may close over a module that stays and over others, new in every call."""
    for known in list(memories):
        if type(known) is tuple and any(reference() is None for reference in known[1:]):
            del memories[known]


def _memories_for(owner: Any) -> dict[Any, Memory]:
    """A place for the memories of what had none; not by ``==``, which it may define as it likes."""
    identity = id(owner)
    forget = _memories.pop  # which this file may have lost when Python ends
    reference = weakref.ref(owner, lambda _: forget(identity, None))
    memories: dict[Any, Memory] = {}
    _memories[identity] = (reference, memories)
    return memories


def _known_by(critic: Any, module: torch.nn.Module | None) -> tuple[Any, Any]:
    """What lives as long as the critic does, and what else it is known by."""
    code = _code_of(critic)
    known: list[Any] = list(modules_behind(critic, module))
    if module is None:
        called = behind_partials(critic)
        # Of a function the code: a lambda may be new in every call.
        owner = getattr(called, "__self__", None if hasattr(called, "__code__") else called)
        if type(owner).__weakrefoffset__ != 0:  # it is 0 of None, and where a class has __slots__
            known.insert(0, owner)
    if not known:
        return code, code
    owner, *others = known
    return owner, (code, *map(weakref.ref, others)) if others else code


class PerCritic(Generic[T]):
    """A subject on which there is a value for each critic."""

    def get(self, memory: Memory) -> T | None:
        """The value, or None if none was put."""
        return memory.get(self)

    def put(self, memory: Memory, value: T) -> None:
        memory[self] = value


def modules_behind(critic: Any, module: torch.nn.Module | None) -> list[torch.nn.Module]:
    """The modules that a critic uses, as far as that can be seen: a function closes over them."""
    if module is not None:
        return [module]
    modules = []
    for cell in getattr(behind_partials(critic), "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            continue
        if isinstance(content, torch.nn.Module):
            modules.append(content)
    return modules


def _code_of(critic: Any) -> Any:
    """What tells two critics of the same module apart."""
    critic = behind_partials(critic)
    if isinstance(critic, torch.nn.Module):
        return type(critic)
    return getattr(critic, "__code__", type(critic))
