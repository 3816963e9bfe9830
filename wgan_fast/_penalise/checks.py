"""What the user gave: checked, with an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_bool as check_bool
from .._arguments import check_choice as check_choice
from .._arguments import check_dense, describe
from .._arguments import check_norm as check_norm
from .._arguments import check_number as check_number
from .._tracing import can_look

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_samples(samples: Any, name: str) -> None:
    """``samples`` must be a dense floating tensor ``[B, *]`` that is not empty."""
    _check_values(samples, name, "[B, *]")
    if samples.dtype not in _DTYPES:
        raise TypeError(
            f"{name} must be float64, float32, bfloat16 or float16, but it is {samples.dtype}; "
            f"convert it, for example with {_conversion(samples, name)}"
        )
    if samples.dim() == 0:
        raise ValueError(f"{name} must be [B, *] with a batch dimension, but it is 0-dimensional")
    if samples.numel() == 0:
        raise ValueError(f"{name} must not be empty, but its shape is {list(samples.shape)}")


def _check_values(tensor: Any, name: str, shape: str) -> None:
    """``tensor`` must be a dense tensor that has values."""
    check_dense(tensor, name, shape)
    if tensor.device.type == "meta":
        raise TypeError(
            f"{name} must hold values, but it is on the device meta, where there are none; make it "
            "anew on another device"
        )


def _conversion(tensor: Tensor, name: str) -> str:
    """What makes floating numbers of a tensor of another dtype."""
    if tensor.is_quantized:
        return f"{name}.dequantize()"
    if tensor.is_complex():
        resolved = f"{name}.resolve_conj()" if tensor.is_conj() else name
        return f"torch.view_as_real({resolved}), of shape [B, *, 2]"
    return f"{name}.float()"


def check_pair(real: Any, fake: Any, real_name: str = "real", fake_name: str = "fake") -> None:
    """``real`` and ``fake`` must be samples of the same shape, dtype and device."""
    check_samples(real, real_name)
    check_samples(fake, fake_name)
    if fake.shape != real.shape:
        raise ValueError(
            f"{fake_name} must have the shape of {real_name}, {list(real.shape)}, but it is "
            f"{list(fake.shape)}"
        )
    check_alike(fake, fake_name, real, real_name)


def check_alike(tensor: Tensor, name: str, like: Tensor, like_name: str) -> None:
    """``tensor`` must have the dtype and device of ``like``."""
    if tensor.dtype != like.dtype:
        raise TypeError(
            f"{name} must have the dtype of {like_name}, {like.dtype}, but it is {tensor.dtype}; "
            f"convert it with {name}.to({like_name}.dtype)"
        )
    if tensor.device != like.device:
        raise ValueError(
            f"{name} must be on the device of {like_name}, {like.device}, but it is on "
            f"{tensor.device}; move it with {name}.to({like_name}.device)"
        )


def check_chunk_size(chunk_size: Any) -> None:
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
        raise TypeError(f"chunk_size must be an integer or None, but it is {describe(chunk_size)}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, but it is {chunk_size}")


def check_inference_mode() -> None:
    # Dynamo cannot tell, and PyTorch says itself that there are no gradients.
    if not torch.compiler.is_dynamo_compiling() and torch.is_inference_mode_enabled():
        raise RuntimeError(
            "a gradient penalty needs gradients, which torch.inference_mode() rules out; use "
            "torch.no_grad() to get the value without a graph"
        )


def check_epsilon(epsilon: Any, real: Tensor, generator: Any) -> Tensor:
    """``epsilon``, in the dtype of the kernels; it must be ``[B]``, with values in [0, 1].

    Looking at the values waits for the device; while calls are recorded, nobody looks. Without
    ``epsilon`` nothing waits.
    """
    batch = real.shape[0]
    if generator is not None:
        raise ValueError("generator must be None when epsilon is given: there is nothing to draw")
    _check_values(epsilon, "epsilon", "[B]")
    if not epsilon.dtype.is_floating_point:
        how = "epsilon.real" if epsilon.is_complex() else _conversion(epsilon, "epsilon")
        raise TypeError(
            f"epsilon must have a floating dtype, but it is {epsilon.dtype}; convert it, for "
            f"example with {how}"
        )
    if epsilon.shape != (batch,):
        raise ValueError(
            f"epsilon must hold one factor for each sample, shape [{batch}], but its shape is "
            f"{list(epsilon.shape)}"
        )
    if epsilon.device != real.device:
        raise ValueError(
            f"epsilon must be on the device of real, {real.device}, but it is on {epsilon.device}"
        )
    epsilon = epsilon.detach()
    # A comparison with NaN is false as well.
    if can_look(epsilon) and not bool(((epsilon >= 0) & (epsilon <= 1)).all()):
        low, high = epsilon.min().item(), epsilon.max().item()
        raise ValueError(f"epsilon must lie in [0, 1], but its values go from {low} to {high}")
    dtype = torch.float64 if real.dtype == torch.float64 else torch.float32
    return epsilon.to(dtype).contiguous()


def check_double_backward(choice: Any, settings: type) -> None:
    if not isinstance(choice, settings):
        raise ValueError(
            "double_backward must be 'pruned', 'plain', 'finite_difference' or a "
            f"{settings.__name__}, but it is {describe(choice)}"
        )


def check_module(module: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            "module must be the torch.nn.Module whose parameters the critic uses, or None, but it "
            f"is {describe(module)}"
        )


def check_critic_arguments(args: Any, kwargs: Any) -> None:
    if not isinstance(args, tuple | list):
        raise TypeError(
            "critic_args must be a tuple of positional arguments, but it is "
            f"{describe(args)}; write (labels,) for a single one"
        )
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(
            f"critic_kwargs must be a dict of keyword arguments, but it is {describe(kwargs)}"
        )
    for name in kwargs or ():
        if not isinstance(name, str):
            raise TypeError(
                f"critic_kwargs must have names, strings, as its keys, but one is {describe(name)}"
            )


def check_shared_arguments(shared: Any, args: Any, kwargs: Any) -> None:
    """``shared`` must be positions in ``args`` and names in ``kwargs``."""
    if not isinstance(shared, tuple | list | set | frozenset):
        raise TypeError(
            "shared_arguments must be a tuple of positions in critic_args and names in "
            f"critic_kwargs, but it is {describe(shared)}; write ({describe(shared)},) for a "
            "single one"
        )
    names = list(kwargs or {})
    for where in shared:
        if isinstance(where, bool) or not isinstance(where, int | str):
            raise TypeError(
                "shared_arguments must hold positions (int) and names (str), but it holds "
                f"{describe(where)}"
            )
        if isinstance(where, int) and not 0 <= where < len(args):
            raise ValueError(
                "shared_arguments must hold positions in critic_args, counted from 0, which has "
                f"{len(args)}, but it holds {where}"
            )
        if isinstance(where, str) and where not in names:
            known = ", ".join(map(repr, names)) or "empty"
            raise ValueError(
                f"shared_arguments must hold names in critic_kwargs, which is {known}, but it "
                f"holds {where!r}"
            )


def check_subset(subset: Any, reduction: str) -> float:
    share = check_number(subset, "subset")
    if not 0 < share <= 1:
        raise ValueError(f"subset must be a share of the batch, in (0, 1], but it is {subset}")
    if reduction == "max":
        raise ValueError(
            f"subset must be None for a maximum, but it is {subset}: the maximum of a part of the "
            "batch is too small, and no rescaling mends it"
        )
    return share


def check_subset_of_process(subset: float, batch: int) -> None:
    if subset * batch < 1:
        raise ValueError(
            f"subset must be at least 1/{batch} with first_sample and {batch} samples, but it is "
            f"{subset}: this process might get none"
        )


def check_first_sample(first_sample: Any) -> None:
    if isinstance(first_sample, bool) or not isinstance(first_sample, int):
        raise TypeError(
            f"first_sample must be an integer or None, but it is {describe(first_sample)}"
        )
    if first_sample < 0:
        raise ValueError(f"first_sample must be at least 0, but it is {first_sample}")


def check_generator(generator: Any) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, but it is {describe(generator)}")


def check_scores(**scores: Any) -> None:
    """Scores, by the names of their arguments, must be floating tensors that are not empty."""
    for name, value in scores.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, but it is {describe(value)}")
        if not value.dtype.is_floating_point:
            raise TypeError(f"{name} must be floating, but they are {value.dtype}")
        if value.numel() == 0:
            raise ValueError(f"{name} must not be empty, but their shape is {list(value.shape)}")
