"""Which modules a function calls: noted while it runs for the first time."""

from __future__ import annotations

import threading
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel

from .._penalise.state import is_sharded


class Called:
    """Notes which modules this thread calls."""

    def __init__(self) -> None:
        self._found: dict[int, nn.Module] = {}
        self._thread = threading.get_ident()

    def __enter__(self) -> None:
        self._hook = register_module_forward_pre_hook(self._note)

    def __exit__(self, *error: Any) -> None:
        self._hook.remove()

    def _note(self, module: nn.Module, _: Any) -> None:
        if threading.get_ident() == self._thread:
            self._found.setdefault(id(module), module)

    def roots(self) -> list[nn.Module]:
        """Those that were called, without those that are in another."""
        roots, inside = [], set()
        for module in self._found.values():
            if id(module) not in inside:
                roots.append(module)
                inside.update(map(id, module.modules()))
        return roots

    def wrappers(self) -> list[nn.Module]:
        return [m for m in self._found.values() if isinstance(m, DistributedDataParallel)]

    def has_sharded(self) -> bool:
        return any(map(is_sharded, self._found.values()))
