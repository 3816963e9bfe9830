"""Batch normalisation in training mode, which ties the samples together: warned of once.

What counts is what a critic calls. The module that it belongs to may hold a generator as well.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from .._per_critic import Memory, PerCritic, behind_partials
from .._torch_internals import is_compiled
from .warn import warn

_BATCH_NORMS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.SyncBatchNorm,
    torch.nn.LazyBatchNorm1d,
    torch.nn.LazyBatchNorm2d,
    torch.nn.LazyBatchNorm3d,
)

#: Of each critic that was called: the layers that it called in evaluation mode. Once one of these
#: trains, it is looked at again.
_in_evaluation: PerCritic[list[weakref.ref[torch.nn.Module]]] = PerCritic()


def watching(
    critic: Callable[..., Any], module: torch.nn.Module | None, memory: Memory
) -> AbstractContextManager[Any] | None:
    """A context for one call of the critic, which warns of the batch normalisation in it; None
    where there is nothing to watch.

    Args:
        critic: what is called.
        module: the layers to watch are in there; None if it is not known.
        memory: what is known of the critic.
    """
    if module is None:
        return None
    silent = _in_evaluation.get(memory)
    if silent is None or any(map(_trains, silent)):
        return _Watch(critic, module, memory)
    return None


def _trains(reference: weakref.ref[torch.nn.Module]) -> bool:
    layer = reference()
    return layer is not None and layer.training


class _Watch(AbstractContextManager[None]):
    """Hooks on all layers of batch normalisation, there for one call."""

    def __init__(self, critic: Callable[..., Any], module: torch.nn.Module, memory: Memory) -> None:
        self._critic, self._module, self._memory = critic, module, memory
        self._names = {
            layer: name.replace("_orig_mod.", "") or "the critic itself"
            for name, layer in module.named_modules()
            if isinstance(layer, _BATCH_NORMS)
        }
        self._called: set[torch.nn.Module] = set()
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        compiled = _compiled_layers(self._critic, self._module)
        for layer in self._names:
            if layer in compiled:  # where a hook may not run, or be compiled along
                self._called.add(layer)
            else:
                # What is called may be a replica of the layer, which nn.DataParallel has made.
                note = functools.partial(_note, self._called, layer)
                self._hooks.append(layer.register_forward_pre_hook(note))

    def __exit__(self, error: Any, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        if error is not None:
            return
        called = [layer for layer in self._names if layer in self._called]
        silent: list[weakref.ref[torch.nn.Module]]
        silent = [weakref.ref(layer) for layer in called if not layer.training]
        _in_evaluation.put(self._memory, silent)
        names = [f"{self._names[x]} ({type(x).__name__})" for x in called if x.training]
        if names:
            warn(
                f"the critic has batch normalisation in training mode: {', '.join(names)}. It "
                "makes the score of a sample depend on the rest of the batch, so that a per-sample "
                "gradient norm loses its meaning. Use layer, instance or group normalisation, or "
                "none (arXiv 1704.00028, section 4)."
            )


def _note(called: set[torch.nn.Module], layer: torch.nn.Module, *_: Any) -> None:
    called.add(layer)


def _compiled_layers(critic: Any, module: torch.nn.Module) -> set[torch.nn.Module]:
    """What ``torch.compile`` calls: everything, if the critic itself is compiled."""
    roots = (
        [module] if is_compiled(behind_partials(critic)) else filter(is_compiled, module.modules())
    )
    return {layer for root in roots for layer in root.modules()}
