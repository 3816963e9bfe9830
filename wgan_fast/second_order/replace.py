"""Other implementations for PyTorch functions, for the duration of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

#: Called with the function that it stands in for, and that function's arguments.
Replacement = Callable[..., Any]


class Replacing(TorchFunctionMode):
    """While it is entered, this thread's calls of some functions go to their replacements.

    What a function that is not replaced costs in addition is one look into a dictionary, about two
    microseconds in all.
    """

    def __init__(self, replacements: Mapping[Any, Replacement]) -> None:
        super().__init__()
        self._replacements = replacements

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        replacement = self._replacements.get(func)
        if replacement is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        return replacement(func, *args, **(kwargs or {}))
