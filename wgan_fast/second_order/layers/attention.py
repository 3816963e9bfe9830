"""Attention, by the one of PyTorch's backends that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch.nn.functional as F
from torch.backends import cuda

from ..._torch_internals import overrideable_attention
from .._layer import Layer
from .._switch import Switched

#: Attention by matrix products and a softmax, which ``torch.nn.attention.sdpa_kernel`` calls MATH.
#: No fused kernel has a double backward, the CPU's neither.
_flash = Switched(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False)
_overrideable = overrideable_attention()
_ATTENTION = (
    Switched(cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
    _flash,
    Switched(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
    Switched(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
    *([] if _overrideable is None else [Switched(*_overrideable, False)]),
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
    # The second calls the first, but whatever it calls is not seen from outside.
    functions=dict.fromkeys(
        (F.scaled_dot_product_attention, F.multi_head_attention_forward), _read
    ),
    call=_attend,
)
