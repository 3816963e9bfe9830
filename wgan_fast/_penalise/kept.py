"""Values that can be set back: tensors, collections, arrays, and what stands under a name."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)

#: The collections that can be set back. Others may have ways of their own.
COLLECTIONS = (*_MAPPINGS, list, deque, set)

_MISSING = object()


class KeptTensor:
    """A tensor with the memory that it has now, and with the values there.

    Args:
        tensor: which.
        copied: whether to keep the values, too. Where several of its numbers share a place in
            memory, or it requires a gradient, they are not: nobody writes to it.
    """

    def __init__(self, tensor: Tensor, *, copied: bool) -> None:
        self.tensor = tensor
        #: The same memory, but with a version of its own: autograd does not see it written to.
        self._alias = tensor.data
        writable = not (tensor.requires_grad or tensor.is_inference() or _overlaps(tensor))
        self._value = self._alias.clone() if copied and writable else None

    @property
    def copied(self) -> bool:
        return self._value is not None

    def restore_memory(self) -> None:
        """Undoes ``tensor.data = other``.

        But not where the shape of a trainable one has changed: that is how weights are sharded.
        """
        tensor, alias = self.tensor, self._alias
        if _same_memory(tensor, alias) or (tensor.requires_grad and tensor.shape != alias.shape):
            return
        tensor.data = alias

    def restore_values(self) -> None:
        if self._value is None:
            return
        # Comparing on a device would wait for it.
        if self._alias.is_cpu and torch.equal(self._alias, self._value):
            return
        self._alias.copy_(self._value)

    def move_elsewhere(self) -> None:
        """Puts the kept values into memory of their own."""
        if self._value is not None:
            self.tensor.data = self._value.clone()


def can_be_kept(tensor: Tensor) -> bool:
    """Whether it is an ordinary tensor, with memory, and no wrapper around others."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
        return False
    try:
        return not (tensor.is_meta or tensor.is_quantized) and tensor.data_ptr() >= 0
    except RuntimeError:  # inside a transform of torch.func
        return False


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return (
        a.data_ptr() == b.data_ptr()
        and (a.dtype, a.device) == (b.dtype, b.device)
        and (a.shape, a.stride()) == (b.shape, b.stride())
    )


def _overlaps(tensor: Tensor) -> bool:
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return any(size > 1 and stride == 0 for size, stride in sizes)


def keep_collection(collection: Any) -> Callable[[], None]:
    """What gives a collection the entries back that it has now."""
    before = _flat(collection)

    def set_back() -> None:
        now = _flat(collection)
        if len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True)):
            return
        collection.clear()
        if isinstance(collection, dict):
            for key, value in zip(before[::2], before[1::2], strict=True):
                collection[key] = value
        elif isinstance(collection, set):
            collection.update(before)
        else:
            collection.extend(before)

    return set_back


def _flat(collection: Any) -> list[Any]:
    """The entries, of a mapping its keys and values in turn."""
    if isinstance(collection, dict):
        return [each for item in collection.items() for each in item]
    return list(collection)


def keep_names(
    names: MutableMapping[str, Any], is_kept: Callable[[str, Any], bool]
) -> Callable[[], None]:
    """What gives some names the values back that they have now, and takes those away that are new.

    Args:
        names: where the values stand.
        is_kept: whether a name with this value is kept; the others are left alone.
    """
    before = {name: value for name, value in names.items() if is_kept(name, value)}

    def set_back() -> None:
        for name, value in list(names.items()):
            if name not in before and is_kept(name, value):
                del names[name]
        for name, value in before.items():
            now = names.get(name, _MISSING)
            if now is not value and (now is _MISSING or is_kept(name, now)):
                names[name] = value

    return set_back


def keep_array(array: Any) -> Callable[[], None]:
    """What gives a NumPy array the values back that it has now."""
    before = array.copy()

    def set_back() -> None:
        array[...] = before

    return set_back


def is_writable_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.flags.writeable
