"""The state that a critic keeps in itself, as it is now, and how to set it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from .kept import (
    COLLECTIONS,
    KeptTensor,
    can_be_kept,
    is_writable_array,
    keep_array,
    keep_collection,
    keep_names,
)
from .randomness import is_generator

#: No copy is made of tensors and arrays with more numbers than this, buffers excepted: they are set
#: back only where another has taken their place. The estimates of a spectral normalisation are far
#: smaller; large frozen weights, which nobody changes, are larger.
COPIED = 2**20

#: Of collections with more entries than this, the entries are not looked into.
_SEARCHED = 10_000

#: What every module has, its hooks for example, is no state of a critic.
_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}

#: Where the classes of PyTorch's wrappers for distributed and compiled critics are from.
_WRAPPERS = ("torch.nn.parallel.", "torch.distributed.", "torch._dynamo.")


class State:
    """The values that a critic has now, of all that it may change in a call.

    These are, of the module and its submodules: the buffers; the parameters that require no
    gradient; and the attributes, with what is in their lists, dicts, sets and arrays. They are set
    back by identity and by value. Trainable parameters are not copied: they are set back only where
    the data of another tensor was put in the place of theirs. Lazy modules and PyTorch's own
    wrappers look after their attributes themselves; of scripted modules, and of critics that are
    sharded by FSDP, which exchanges their weights in each call, the buffers alone are kept.

    Args:
        module: the critic, if it is known.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self._module = module
        self._structure = _structure(module)
        self._identities: list[Callable[[], None]] = []
        self._tensors: list[KeptTensor] = []
        #: The random generators that the critic keeps itself.
        self.generators: list[Any] = []
        # By identity; what was seen lives on, or another could get its identity.
        self._seen: dict[int, Any] = {}
        self._sharded = module is not None and any(map(is_sharded, module.modules()))
        self._keep(module)

    def is_built_alike(self) -> bool:
        """Whether the critic has the same layers and trainable parameters as it had."""
        return _structure(self._module) == self._structure

    def restore(self) -> None:
        """Sets everything back. To autograd, tensors have not changed by this: graphs that saved
        them remain valid."""
        self._restore_identities()
        with torch.no_grad():
            for kept in self._tensors:
                kept.restore_values()

    @contextmanager
    def in_other_memory(self) -> Iterator[None]:
        """A context in which the critic has this state, with its tensors in memory of their own.

        On leaving it, the tensors are back where they lay, with the values that are there. For
        everything else, what it was before has to be restored.
        """
        places = [(kept.tensor, kept.tensor.data) for kept in self._tensors]
        try:
            self._restore_identities()
            for kept in self._tensors:
                kept.move_elsewhere()
            yield
        finally:
            for tensor, place in places:
                tensor.data = place

    def _restore_identities(self) -> None:
        for set_back in self._identities:
            set_back()
        for kept in self._tensors:
            kept.restore_memory()

    def _keep(self, value: Any, *, any_size: bool = False) -> None:
        if value is None or isinstance(value, str | int | float) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            if can_be_kept(value):
                copied = any_size or value.numel() <= COPIED
                self._tensors.append(KeptTensor(value, copied=copied))
        elif isinstance(value, nn.Module):
            self._keep_module(value)
        elif is_generator(value):
            self.generators.append(value)
        elif type(value) in COLLECTIONS:
            self._identities.append(keep_collection(value))
            if len(value) <= _SEARCHED:
                self._keep_all(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, tuple):
            self._keep_all(value)
        elif is_writable_array(value) and value.size <= COPIED:
            self._identities.append(keep_array(value))

    def _keep_all(self, values: Any) -> None:
        for value in values:
            self._keep(value)

    def _keep_module(self, module: nn.Module) -> None:
        self._keep_all(module.children())
        if isinstance(module, torch.jit.ScriptModule):
            for name, buffer in module.named_buffers(recurse=False):
                self._keep(buffer, any_size=True)
                self._identities.append(_keep_scripted_buffer(module, name, buffer))
            return
        if isinstance(module, LazyModuleMixin):
            return
        for buffer in module._buffers.values():
            self._keep(buffer, any_size=True)
        self._keep_names(module._buffers)
        if self._sharded:
            return
        self._keep_all(module._parameters.values())
        self._keep_names(module._parameters, lambda _, value: not _is_trainable(value))
        if not type(module).__module__.startswith(_WRAPPERS):
            self._keep_all(v for n, v in vars(module).items() if n not in _EVERY_MODULE)
            self._keep_names(vars(module), lambda name, _: name not in _EVERY_MODULE)

    def _keep_names(
        self, names: Any, is_kept: Callable[[str, Any], bool] = lambda _name, _value: True
    ) -> None:
        self._identities.append(keep_names(names, is_kept))


def _structure(module: nn.Module | None) -> list[tuple[int, list[tuple[str, bool]]]]:
    """The layers, and the names of their parameters, and whether these are still lazy."""
    return [
        (
            id(part),
            [(n, is_lazy(p)) for n, p in part.named_parameters(recurse=False) if p.requires_grad],
        )
        for part in (() if module is None else module.modules())
    ]


def _is_trainable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP has sharded a module, in its first or second version."""
    kinds = type(module).__mro__
    return any(kind.__module__.startswith("torch.distributed.fsdp") for kind in kinds)


def _keep_scripted_buffer(module: nn.Module, name: str, buffer: Tensor) -> Callable[[], None]:
    def set_back() -> None:
        if getattr(module, name) is not buffer:
            setattr(module, name, buffer)

    return set_back
