"""How many bytes of tensors are alive at once: counted, so it is the same every time."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the storages that operators make while it is entered.

    Example:
        >>> before = torch.ones(1000)
        >>> with PeakMemory() as memory:
        ...     x = before[:10].clone()
        ...     x = x + 1
        ...     del x
        >>> memory.now, memory.peak
        (0, 80)
    """

    def __init__(self):
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self._known.update(_storages((args, kwargs)))  # older than this mode, if it is new
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage.nbytes())
        return result

    def _freed(self, size):
        self.now -= size


def _storages(values):
    return [x.untyped_storage() for x in tree_leaves(values) if isinstance(x, torch.Tensor)]
