"""What the user gave: checked, with an error that says what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def describe(value: Any) -> str:
    """A value as an error message names it: a tensor by dtype, shape and device."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {list(value.shape)} on {value.device}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def check_samples(samples: Any, name: str) -> None:
    """``samples`` must be a dense floating tensor ``[B, *]`` that is not empty."""
    if not isinstance(samples, Tensor):
        raise TypeError(f"{name} must be a tensor [B, *], but it is {describe(samples)}")
    if samples.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor, but its layout is {samples.layout}; "
            f"call {name}.to_dense()"
        )
    if samples.dtype not in _DTYPES:
        raise TypeError(
            f"{name} must be float64, float32, bfloat16 or float16, but it is {samples.dtype}; "
            f"convert it, for example with {name}.float()"
        )
    if samples.dim() == 0:
        raise ValueError(f"{name} must be [B, *] with a batch dimension, but it is 0-dimensional")
    if samples.numel() == 0:
        raise ValueError(f"{name} must not be empty, but its shape is {list(samples.shape)}")


def check_pair(real: Any, fake: Any) -> None:
    """``real`` and ``fake`` must be samples of the same shape, dtype and device."""
    check_samples(real, "real")
    check_samples(fake, "fake")
    if fake.shape != real.shape:
        raise ValueError(
            f"fake must have the shape of real, {list(real.shape)}, but it is {list(fake.shape)}"
        )
    if fake.dtype != real.dtype:
        raise TypeError(
            f"fake must have the dtype of real, {real.dtype}, but it is {fake.dtype}; "
            "convert it with fake.to(real.dtype)"
        )
    if fake.device != real.device:
        raise ValueError(
            f"fake must be on the device of real, {real.device}, but it is on {fake.device}; "
            "move it with fake.to(real.device)"
        )


def check_number(value: Any, name: str, least: float = 0.0) -> float:
    """``value`` must be a finite number of at least ``least``."""
    if type(value) is float and least <= value < math.inf:
        return value  # the way of nearly every call
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, but it is {describe(value)}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number >= {least:g}, but it is {value}")
    return float(value)


def check_bool(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but it is {describe(value)}")


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, but it is {describe(value)}"
        )


def check_chunk_size(chunk_size: Any) -> None:
    if chunk_size is None:
        return
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
        raise TypeError(f"chunk_size must be an integer or None, but it is {describe(chunk_size)}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, but it is {chunk_size}")


def check_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "a gradient penalty needs gradients, which torch.inference_mode() rules out; use "
            "torch.no_grad() to get the value without a graph"
        )


def check_epsilon(epsilon: Any, real: Tensor, generator: Any) -> Tensor:
    """``epsilon``, in the dtype of the kernels; it must be ``[B]``, with values in [0, 1].

    Looking at the values waits for the device. Without ``epsilon`` nothing does.
    """
    batch = real.shape[0]
    if generator is not None:
        raise ValueError("generator must be None when epsilon is given: there is nothing to draw")
    if not isinstance(epsilon, Tensor):
        raise TypeError(f"epsilon must be a tensor [B], but it is {describe(epsilon)}")
    if epsilon.layout != torch.strided:
        raise TypeError(f"epsilon must be a dense tensor, but its layout is {epsilon.layout}")
    if not epsilon.dtype.is_floating_point:
        raise TypeError(f"epsilon must have a floating dtype, but it is {epsilon.dtype}")
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
    if not bool(((epsilon >= 0) & (epsilon <= 1)).all()):  # false for NaN as well
        low, high = epsilon.min().item(), epsilon.max().item()
        raise ValueError(f"epsilon must lie in [0, 1], but its values go from {low} to {high}")
    dtype = torch.float64 if real.dtype == torch.float64 else torch.float32
    return epsilon.to(dtype).contiguous()


def check_norm(norm: Any, backend: str) -> None:
    if type(norm) not in (int, float) or norm not in (1, 2, math.inf):
        raise ValueError(f"norm must be 1, 2 or math.inf, but it is {describe(norm)}")
    if norm != 2 and backend == "native":
        raise ValueError(
            f"norm must be 2 with backend='native', but it is {norm}: there are compiled kernels "
            "for the Euclidean norm alone; take backend='auto'"
        )


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


def check_subset(subset: Any, reduction: str) -> None:
    if subset is None:
        return
    if not 0 < check_number(subset, "subset") <= 1:
        raise ValueError(f"subset must be a share of the batch, in (0, 1], but it is {subset}")
    if reduction == "max":
        raise ValueError(
            f"subset must be None for a maximum, but it is {subset}: the maximum of a part of the "
            "batch is too small, and no rescaling mends it"
        )


def check_generator(generator: Any) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, but it is {describe(generator)}")
