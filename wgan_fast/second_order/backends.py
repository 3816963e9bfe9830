"""Those of PyTorch's backends that can be differentiated twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from .replace import Replacing


class Switched(AbstractContextManager[None]):
    """While it is entered, one of PyTorch's switches is as given.

    The switches belong to the whole process. Threads may overlap: the last to leave restores what
    the first has found.

    Args:
        getter, setter: the switch, by the names of its functions in ``torch._C``.
        value: what it is set to.
    """

    def __init__(self, getter: str, setter: str, value: bool) -> None:
        self._getter = getter
        self._setter = setter
        self._value = value
        self._before = value
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = getattr(torch._C, self._getter)()
                getattr(torch._C, self._setter)(self._value)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                getattr(torch._C, self._setter)(self._before)


_flash = Switched("_get_flash_sdp_enabled", "_set_sdp_use_flash", False)

#: Attention by matrix products and a softmax, which ``torch.nn.attention.sdpa_kernel`` calls MATH.
#: No fused kernel has a double backward, the CPU's neither.
_ATTENTION = (
    Switched("_get_math_sdp_enabled", "_set_sdp_use_math", True),
    _flash,
    Switched("_get_mem_efficient_sdp_enabled", "_set_sdp_use_mem_efficient", False),
    Switched("_get_cudnn_sdp_enabled", "_set_sdp_use_cudnn", False),
    Switched("_get_overrideable_sdp_enabled", "_set_sdp_use_overrideable", False),
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


_without_cudnn = Switched("_get_cudnn_enabled", "_set_cudnn_enabled", False)


def _recurrent(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # For this call alone: the convolutions of the same critic keep cuDNN.
    with _without_cudnn:
        return func(*args, **kwargs)


#: cuDNN's recurrent networks have no double backward; PyTorch's own have.
RECURRENT: dict[Any, Callable[..., Any]] = {
    torch.lstm: _recurrent,
    torch.gru: _recurrent,
    torch.rnn_tanh: _recurrent,
    torch.rnn_relu: _recurrent,
}


@contextmanager
def twice_differentiable_backends() -> Iterator[None]:
    """A context in which attention and recurrent networks can be differentiated twice.

    Without it, ``F.scaled_dot_product_attention``, and with it ``nn.MultiheadAttention`` and the
    transformers, stop with "derivative ... is not implemented" on every device, and ``nn.LSTM``,
    ``nn.GRU`` and ``nn.RNN`` with cuDNN's "Double backwards is not supported". It is enough to call
    the critic in it:

        >>> attention = torch.nn.functional.scaled_dot_product_attention
        >>> x = torch.randn(2, 5, 8, requires_grad=True)
        >>> with twice_differentiable_backends():
        ...     scores = attention(x, x, x).sum()
        >>> (gradients,) = torch.autograd.grad(scores, x, create_graph=True)
        >>> gradients.square().sum().backward()

    Attention switches to matrix products and a softmax, in the whole process for as long as the
    context lasts; the recurrent networks that this thread calls switch to PyTorch's own. All
    switches are restored on leaving.
    """
    with plain_attention(on_cpu=False), Replacing(RECURRENT):
        yield
