"""Attention, by the one of PyTorch's backends that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch.nn.functional as F

from .._layer import Layer
from .._switch import Switched

#: Attention by matrix products and a softmax, which ``torch.nn.attention.sdpa_kernel`` calls MATH.
#: No fused kernel has a double backward, the CPU's neither.
_flash = Switched("flash", False)
_ATTENTION = (
    Switched("math", True),
    _flash,
    Switched("mem_efficient", False),
    Switched("cudnn_attention", False),
    Switched("overrideable", False),
)


class PlainAttention(AbstractContextManager[None]):
    """While it is entered, attention runs by the one backend that can be differentiated twice."""

    def __enter__(self) -> None:
        for switch in _ATTENTION:
            switch.__enter__()

    def __exit__(self, *error: object) -> None:
        for switch in reversed(_ATTENTION):
            switch.__exit__(*error)


_everywhere = PlainAttention()


def plain_attention(on_cpu: bool) -> AbstractContextManager[None]:
    """The context of plain attention; for tensors on the CPU one switch is enough, and quick."""
    return _flash if on_cpu else _everywhere


def _read(
    func: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    return func, args, kwargs


def _attend(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    query = args[0] if args else kwargs["query"]
    with plain_attention(on_cpu=query.is_cpu):
        return func(*args, **kwargs)


ATTENTION = Layer(
    name="attention",
    functions={F.scaled_dot_product_attention: _read},
    call=_attend,
)
