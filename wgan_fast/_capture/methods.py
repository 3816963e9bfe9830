"""Captured methods, kept in the object that they belong to: graphs live as long as it does."""

from __future__ import annotations

from typing import Any

#: Under what name an object keeps them, out of the way of its own names.
NAME = "_captured_by_wgan_fast"


class _Methods:
    """The captured methods of one object. In a copy, or in what was read from a file, None stands
    in their place, and they are made anew."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.bound: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        return type(None), ()


def methods_of(owner: Any) -> dict[Any, Any]:
    """What has been made of an object's captured methods, by what stands in the class.

    Raises:
        TypeError: if the object has nowhere to keep them.
    """
    methods = getattr(owner, "__dict__", {}).get(NAME)
    # copy.copy, and PyTorch where it replicates a module, take another object's over.
    if methods is None or methods.owner is not owner:
        methods = _Methods(owner)
        set_attribute = type.__setattr__ if isinstance(owner, type) else object.__setattr__
        try:
            set_attribute(owner, NAME, methods)
        except AttributeError:
            raise TypeError(
                f"the graphs of a captured method are kept in its object, but a "
                f"{type(owner).__name__} has no __dict__; add '__dict__' to the __slots__ of its "
                "class, or capture a function that is given the object"
            ) from None
    return methods.bound
