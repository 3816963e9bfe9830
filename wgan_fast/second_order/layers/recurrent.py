"""Recurrent networks, by PyTorch's own kernels: cuDNN's have no double backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.backends import cudnn

from .._layer import Layer
from .._switch import Switched


def _set_cudnn(value: bool) -> None:
    cudnn.enabled = value


_without_cudnn = Switched(lambda: cudnn.enabled, _set_cudnn, False)


def _read(
    func: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    return func, args, kwargs


def _run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # For this call alone: the convolutions of the same critic keep cuDNN.
    with _without_cudnn:
        return func(*args, **kwargs)


RECURRENT = Layer(
    name="recurrent network",
    functions=dict.fromkeys((torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), _read),
    call=_run,
)
