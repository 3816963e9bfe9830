"""Convolutions whose double backward does no more than it has to.

PyTorch computes the weight gradient of the second derivative by a convolution dilated by the
stride, over a region larger than needed and by slow algorithms. Here PyTorch's functions are
replaced by those of ``convolution_gradients.py``, for the duration of a call; this file reads their
arguments.
"""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._layer import Layer, Replacing
from .._recording import is_plainly_recorded
from .convolution_backward import Geometry, is_folded
from .convolution_gradients import convolve

Arguments = tuple[Tensor, Tensor, "Tensor | None", Geometry]


def efficient_convolutions() -> AbstractContextManager[Any]:
    """A context in which convolutions are called that are cheap to differentiate twice.

    Their values are PyTorch's, and so are their derivatives of any order, up to rounding; the
    double backward of a gradient penalty costs 4 forward passes instead of 4.8. It is enough to
    call the critic in it:

        >>> critic = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 2), torch.nn.ReLU())
        >>> x = torch.randn(2, 3, 8, 8, requires_grad=True)
        >>> with efficient_convolutions():
        ...     scores = critic(x)
        >>> (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        >>> gradients.square().sum().backward()

    ``F.conv1d``, ``conv2d``, ``conv3d`` and ``conv_transpose1d``, ``2d``, ``3d`` are replaced, and
    with them the modules that call these, for the calls that this thread makes from Python. What is
    not replaced is left to PyTorch: input without a batch dimension or that requires no gradient,
    complex numbers, subclasses of tensors, and everything inside a ``torch.func`` transform.

    On the CPU, gradients at which PyTorch's library is slow (of an input of few channels; of a
    weight wider than its output) are computed in another way, to the same sums.

    Gradients: to any order; gradients of the weights are computed only where they are asked for.
    Under autocast, in the dtype that autocast chooses for PyTorch's convolutions.
    """
    return Replacing([CONVOLUTION], always=True)


def _work(input: Tensor, weight: Tensor, _: Tensor | None, geometry: Geometry) -> int:
    """About how many multiplications one pass takes: positions times weights.

    Those of few channels count 32 times: there replacing it saves half of a pass and more, and else
    a tenth or less.
    """
    positions = input.numel() // max(1, input.shape[1])
    if not geometry.transposed:
        positions //= max(1, math.prod(geometry.stride))
    return positions * weight.numel() * (32 if is_folded(input, geometry) else 1)


def _under_autocast(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Arguments:
    if torch.is_autocast_enabled(input.device.type):
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight = _autocast(input, dtype), _autocast(weight, dtype)
        bias = None if bias is None else _autocast(bias, dtype)
    return input, weight, bias, geometry


def _read_convolution(
    n: int,
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Arguments | None:
    if not _can_replace(n, input, weight):
        return None
    stride, dilation = _numbers(stride, n), _numbers(dilation, n)
    if padding == "same":
        if any(step != 1 for step in stride):
            return None
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(pad % 2 for pad in total):
            # One more on the right, as PyTorch has it; F.pad begins with the last dimension.
            input = F.pad(input, [side for pad in reversed(total) for side in (0, pad % 2)])
        padding = tuple(pad // 2 for pad in total)
    else:
        padding = _numbers(0 if padding == "valid" else padding, n)
    return input, weight, bias, Geometry(stride, padding, dilation, False, (0,) * n, groups)


def _read_transposed_convolution(
    n: int,
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Arguments | None:
    if not _can_replace(n, input, weight):
        return None
    stride, padding, dilation, output_padding = (
        _numbers(value, n) for value in (stride, padding, dilation, output_padding)
    )
    return input, weight, bias, Geometry(stride, padding, dilation, True, output_padding, groups)


def _can_replace(n: int, input: Tensor, weight: Tensor) -> bool:
    return is_plainly_recorded(input, weight) and input.dim() == weight.dim() == n + 2


def _numbers(value: Any, n: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) not in (1, n):
        raise ValueError
    return values if len(values) == n else values * n


def _autocast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    # Autocast leaves float64 alone.
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


#: Multiplications in one convolution below which Python's overhead is more than replacing it
#: saves. On two cores of a Zen 4, with kernels of 4x4 and stride 2, critics with layers of 2**28
#: lost up to 3 % by it, and those of 2**29 gained 2 %.
LEAST_WORK = 2**29

CONVOLUTION = Layer(
    name="convolution",
    functions={
        function: functools.partial(read, n)
        for read, functions in (
            (_read_convolution, (F.conv1d, F.conv2d, F.conv3d)),
            (
                _read_transposed_convolution,
                (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
            ),
        )
        for n, function in enumerate(functions, start=1)
    },
    call=lambda *read: convolve(*_under_autocast(*read)),
    work=_work,
    least_work=LEAST_WORK,
)
