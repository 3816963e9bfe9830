"""Layer, group, instance and RMS normalisation with a double backward of one pass each.

PyTorch computes the derivatives of a layer normalisation's backward pass, and under
``create_graph=True`` the backward pass of a group normalisation, by a chain of elementwise
operations. Here PyTorch's functions are replaced by those of ``normalisation_gradients.py``, for
the duration of a call; this file reads their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops import has_kernels
from ...ops._layout import compute_dtype
from .._layer import Layer
from .._recording import is_plainly_recorded
from .normalisation_gradients import Rows, normalise

Arguments = tuple[Tensor, "Tensor | None", "Tensor | None", Rows]


def _read_layer_norm(
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Arguments | None:
    input, weight, bias = _under_autocast(input, weight, bias)
    if not _can_replace(input, weight, bias) or not _ends_in(input, normalized_shape, weight):
        return None
    return input.contiguous(), weight, bias, Rows("layer", normalized_shape, 1, 1, eps)


def _read_rms_norm(
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Arguments | None:
    input, weight, _ = _under_autocast(input, weight, None)
    if not _can_replace(input, weight, None) or not _ends_in(input, normalized_shape, weight):
        return None
    least = torch.finfo(compute_dtype(input.dtype)).eps
    rows = Rows("rms", normalized_shape, 1, 1, least if eps is None else eps)
    return input.contiguous(), weight, None, rows


def _read_group_norm(
    func: Any,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Arguments | None:
    input, weight, bias = _under_autocast(input, weight, bias)
    return _grouped(input, num_groups, weight, bias, eps)


def _read_instance_norm(
    func: Any,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Arguments | None:
    if not use_input_stats or running_mean is not None or running_var is not None:
        return None  # running statistics are to be used, or to be updated
    return _grouped(input, input.shape[1] if input.dim() > 1 else 0, weight, bias, eps)


def _read_torch_instance_norm(
    func: Any,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Arguments | None:
    statistics = running_mean, running_var
    return _read_instance_norm(func, input, *statistics, weight, bias, use_input_stats, 0.0, eps)


def _grouped(
    input: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Arguments | None:
    # What is channels_last stays it in PyTorch.
    if not _can_replace(input, weight, bias) or not input.is_contiguous() or input.dim() < 2:
        return None
    channels = input.shape[1]
    if groups < 1 or channels % groups or (weight is not None and weight.shape != (channels,)):
        return None
    run = math.prod(input.shape[2:])
    if run * (channels // groups) == 1:  # PyTorch's functions refuse it
        return None
    return input, weight, bias, Rows("group", (), groups, run, eps)


def _ends_in(input: Tensor, shape: Sequence[int], weight: Tensor | None) -> bool:
    shape = tuple(shape)
    return (
        len(shape) > 0
        and tuple(input.shape[-len(shape) :]) == shape
        and (weight is None or tuple(weight.shape) == shape)
    )


def _can_replace(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    if not is_plainly_recorded(input, input if weight is None else weight):
        return False
    if bias is not None:
        if weight is None or not is_plainly_recorded(input, bias):
            return False
        if bias.shape != weight.shape or bias.dtype != weight.dtype:
            return False
    # PyTorch's kernels for the CPU take parameters in float32 with samples in less.
    mixed = input.is_cpu and weight is not None and weight.dtype == torch.float32
    return (
        input.numel() > 0
        and input.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        and (weight is None or weight.dtype == input.dtype or (mixed and input.itemsize == 2))
        and not torch.compiler.is_compiling()
        and has_kernels(input)
    )


def _under_autocast(
    input: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Layer, group and RMS normalisation run in float32 where autocast is on, on a GPU alone."""
    if not input.is_cuda or not torch.is_autocast_enabled("cuda"):
        return input, weight, bias
    return _autocast(input), _autocast(weight), _autocast(bias)


def _autocast(tensor: Any) -> Any:
    # Autocast leaves float64 alone.
    return tensor if tensor is None or tensor.dtype == torch.float64 else tensor.float()


def _work(input: Tensor, _weight: Tensor | None, _bias: Tensor | None, rows: Rows) -> int:
    """The elements of the input; those of groups count four times, since PyTorch's chain of
    operations is longer for them."""
    return input.numel() * (4 if rows.kind == "group" else 1)


#: Elements of the input below which Python's overhead is more than replacing it saves. On one
#: core of a Zen 4, in MLPs and small convolutional critics: layer and RMS normalisations of 2**16
#: lost up to 3 % and those of 2**17 gained 20 %; instance normalisations of 2**13 lost 4 % and of
#: 2**14 gained 7 %, group normalisations gained from 2**13 on.
LEAST_WORK = 2**17

NORMALISATION = Layer(
    name="normalisation",
    functions={
        **dict.fromkeys((F.layer_norm, torch.layer_norm), _read_layer_norm),
        **dict.fromkeys((F.group_norm, torch.group_norm), _read_group_norm),
        F.instance_norm: _read_instance_norm,
        torch.instance_norm: _read_torch_instance_norm,
        **dict.fromkeys((F.rms_norm, torch.rms_norm), _read_rms_norm),
    },
    call=normalise,
    work=_work,
    least_work=LEAST_WORK,
)
