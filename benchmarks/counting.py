"""What PyTorch calls, looked at call by call; ``calls.py`` and ``flops.py`` count with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Counting(TorchDispatchMode, ABC):
    """While it is entered, :meth:`count` is told every call of an operator that this process makes
    one by one; what is inside a compiled graph, or of another library, is not seen."""

    @abstractmethod
    def count(
        self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Called after each call of ``operator``, an overload."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.count(func, args, kwargs, result)
        return result
