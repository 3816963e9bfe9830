"""What the references and the fake kernels refuse, in the words of ``csrc/torch/tensors.h``.

PyTorch would broadcast, convert or compute with integers where the compiled kernels cannot: the
same mistake must be an error on every backend.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._arguments import check_dense, describe
from ._layout import compute_dtype

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_dense_pair(real: Any, fake: Any) -> None:
    """Both must be tensors that one can ask for their strides."""
    check_dense(real, "real", "[B, *]")
    check_dense(fake, "fake", "[B, *]")


def check_draw(seed: Any, first_sample: Any) -> None:
    """A seed and the index of a sample must be of the right kind."""
    if not isinstance(seed, Tensor):
        raise TypeError(f"seed must be a tensor of one int64 number, but it is {describe(seed)}")
    if isinstance(first_sample, bool) or not isinstance(first_sample, int | torch.SymInt):
        raise TypeError(f"first_sample must be an integer, but it is {describe(first_sample)}")
    if first_sample < 0:
        raise ValueError(f"first_sample must be at least 0, but it is {first_sample}")


def check_samples(x: Tensor, name: str) -> None:
    """``x`` must be ``[B, *]`` of one of the four dtypes."""
    if x.dim() < 1:
        raise RuntimeError(f"{name} must have a batch dimension, but it is 0-dimensional")
    check_dtype(x, name)


def check_dtype(x: Tensor, name: str) -> None:
    """``x`` must be of one of the four dtypes."""
    if x.dtype not in _DTYPES:
        expected = "float64, float32, float16 or bfloat16"
        raise RuntimeError(f"{name} must be {expected}, but it is {x.dtype}")


def check_pair(real: Tensor, fake: Tensor) -> None:
    """``fake`` must be like ``real``."""
    check_samples(real, "real")
    check_samples(fake, "fake")
    check_same(real, "real", fake, "fake")


def check_same(a: Tensor, a_name: str, b: Tensor, b_name: str) -> None:
    """Two tensors must have the same shape, dtype and device."""
    if a.shape != b.shape:
        raise RuntimeError(
            f"{a_name} and {b_name} must have the same shape, but they have {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{a_name} and {b_name} must have the same dtype, but they have {a.dtype} and "
            f"{b.dtype}; convert one of them"
        )
    if a.device != b.device:
        raise RuntimeError(
            f"{a_name} and {b_name} must be on the same device, but they are on {a.device} and "
            f"{b.device}; move one of them"
        )


def check_vector(values: Tensor, name: str, x: Tensor, size: int) -> None:
    """``values`` must be ``size`` numbers of the compute dtype, beside the samples ``x``."""
    if values.numel() != size:
        raise RuntimeError(
            f"{name} must have {size} elements, but its shape is {list(values.shape)}"
        )
    if not values.is_contiguous():
        raise RuntimeError(
            f"{name} must be contiguous, but its strides are {list(values.stride())}; call "
            f"{name}.contiguous()"
        )
    dtype = compute_dtype(x.dtype)
    if values.dtype != dtype:
        raise RuntimeError(
            f"{name} must be {dtype}, but it is {values.dtype}; convert it with {name}.to({dtype})"
        )
    if values.device != x.device:
        raise RuntimeError(
            f"{name} must be on the device of the samples, {x.device}, but it is on "
            f"{values.device}; move it with {name}.to('{x.device}')"
        )


def check_seed(seed: Tensor, x: Tensor) -> None:
    """``seed`` must be one int64 number, on the CPU or beside the samples ``x``."""
    if seed.numel() != 1 or seed.dtype != torch.int64:
        raise RuntimeError(
            "seed must be one int64 number, such as torch.randint(2**63 - 1, ()), but it is "
            f"{describe(seed)}"
        )
    if seed.device.type != "cpu" and seed.device != x.device:
        raise RuntimeError(
            f"seed must be on the CPU or on the device of the samples, {x.device}, but it is on "
            f"{seed.device}; move it with seed.cpu()"
        )
