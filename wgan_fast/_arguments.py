"""Checks of single arguments, for the operators and for the penalties."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def describe(value: Any) -> str:
    """A value as an error message names it: a tensor by dtype, shape and device."""
    if isinstance(value, Tensor):
        if value.is_nested:
            return f"a nested {value.dtype} tensor"
        return f"a {value.dtype} tensor of shape {list(value.shape)} on {value.device}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def check_dense(value: Any, name: str, shape: str) -> None:
    """``value`` must be a tensor that holds its values one by one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor {shape}, but it is {describe(value)}")
    if value.is_nested:
        raise TypeError(
            f"{name} must be a dense tensor {shape}, but it is a nested one; pad its samples to "
            f"one size, with {name}.to_padded_tensor(0.0)"
        )
    if value.layout != torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor {shape}, but its layout is {value.layout}; "
            f"call {name}.to_dense()"
        )


def check_number(value: Any, name: str, least: float = 0.0) -> float:
    """``value`` must be a finite number of at least ``least``."""
    if type(value) is float and least <= value < math.inf:
        return value  # the way of nearly every call
    if isinstance(value, bool) or not isinstance(value, Real):
        way_out = ""
        if isinstance(value, Tensor):
            way_out = f"; pass float({name}), or where it is a weight, multiply the result by it"
        raise TypeError(f"{name} must be a number, but it is {describe(value)}{way_out}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number >= {least:g}, but it is {value}")
    return float(value)


def check_bool(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but it is {describe(value)}")


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, but it is {describe(value)}"
        )


def check_norm(norm: Any, backend: str) -> None:
    if type(norm) not in (int, float) or norm not in (1, 2, math.inf):
        raise ValueError(f"norm must be 1, 2 or math.inf, but it is {describe(norm)}")
    if norm != 2 and backend == "native":
        raise ValueError(
            f"norm must be 2 with backend='native', but it is {norm}: there are compiled kernels "
            "for the Euclidean norm alone; take backend='auto'"
        )
