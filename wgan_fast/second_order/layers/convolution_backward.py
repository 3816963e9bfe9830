"""The gradients of a convolution, by the faster of the ways in which PyTorch can compute them.

On the CPU, ``convolution_backward`` is oneDNN's. Where it is slow, one of the other ways is taken
to the same sums; the numbers in the comments are of two cores of a Zen 4, float32.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._torch_internals import is_batched


class Geometry(NamedTuple):
    """What a convolution is given besides tensors, as ``torch.convolution`` takes it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


def input_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of an input, of which only shape, dtype and device matter."""
    if is_folded(input, geometry) and not is_batched(grad):
        return _folded(grad, input, weight, geometry)
    return _backward(grad, input, weight, None, *geometry, (True, False, False))[0]


def weight_gradient(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of a weight, of which only shape, dtype and device matter."""
    if _is_convolved(grad, input, weight, geometry) and not is_batched(grad):
        return _convolved(grad, input, weight, geometry)
    return _backward(grad, input, weight, None, *geometry, (False, True, False))[1]


_backward = torch.ops.aten.convolution_backward.default

#: The bytes that the windows of a part of the batch may take, before they are added up.
WINDOWS = 2**21


def is_folded(input: Tensor, geometry: Geometry) -> bool:
    """Whether the gradient of this input, of few channels, is made by a matrix product.

    oneDNN computes 16 channels at a time. A batch of 64 images of 3x64x64 from 64 channels, with a
    kernel of 4x4: 13.4 ms, folded 6.6; sound, 16x1x16384 from 32 channels: 8.8 ms, folded 2.9.
    """
    return input.shape[1] <= 4 and input.dim() in (3, 4) and _is_plain(input, geometry)


def _folded(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The product gives what each output owes to its window; the windows are added up."""
    is_image = input.dim() == 4  # F.fold knows nothing else

    def two(numbers: tuple[int, ...], other: int) -> Any:
        return list(numbers) if is_image else [other, *numbers]

    matrix, grad = weight.flatten(1).t(), grad.flatten(2)
    of_a_sample = matrix.shape[0] * grad.shape[2] * grad.element_size()
    parts = []
    for part in grad.split(max(1, WINDOWS // of_a_sample)):
        windows = F.fold(
            # Not matmul, which would copy both factors' transposes, and the product.
            torch.bmm(matrix.expand(len(part), -1, -1), part),
            two(tuple(input.shape[2:]), 1),
            two(tuple(weight.shape[2:]), 1),
            two(geometry.dilation, 1),
            two(geometry.padding, 0),
            two(geometry.stride, 1),
        )
        parts.append(windows)
    result = parts[0] if len(parts) == 1 else torch.cat(parts)
    return result.view(input.shape)


def _is_plain(input: Tensor, geometry: Geometry) -> bool:
    return (
        input.is_cpu
        and input.dtype in (torch.float32, torch.float64)
        and input.numel() > 0
        and not geometry.transposed
        and geometry.groups == 1
    )


def _is_convolved(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether the gradient of this weight is made by a convolution.

    oneDNN gives each thread samples and a copy of the weight, and goes through whole rows: it is
    slow where the weight is wider than the output, and where a row is long. From 256 channels of
    8x8 to 512 of 4x4 with a kernel of 4x4, batch 64: 22.3 ms, as a convolution 20.3; to an output
    of 1x1, 17.5 and 8.2; to one of 8x8 it is the other way round, 19.6 and 21.6. Sound, from 32
    channels of 4096 to 64 of 1024 with a kernel of 25, batch 16: 29.2 and 15.8.
    """
    kernel = math.prod(weight.shape[2:])
    is_slow = math.prod(grad.shape[2:]) <= kernel or input.shape[-1] >= 4096
    if not is_slow or not _is_plain(input, geometry):
        return False
    # Where the stride leaves a rest of the input, a convolution computes more than the weight.
    computed = 1
    for size, out, padding, stride, dilation in zip(
        input.shape[2:],
        grad.shape[2:],
        geometry.padding,
        geometry.stride,
        geometry.dilation,
        strict=True,
    ):
        computed *= (size + 2 * padding - stride * (out - 1) - 1) // dilation + 1
    return computed <= 1.1 * kernel


def _convolved(grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A convolution of the input with the gradient, stride and dilation exchanged.

    Batch and channels are exchanged, too: it sums over the samples.
    """
    n = len(geometry.stride)
    result = torch.convolution(
        input.transpose(0, 1),
        grad.transpose(0, 1),
        None,
        geometry.dilation,
        geometry.padding,
        geometry.stride,
        False,
        (0,) * n,
        1,
    )
    kernel = tuple(slice(0, size) for size in weight.shape[2:])
    return result[(..., *kernel)].transpose(0, 1).contiguous()
