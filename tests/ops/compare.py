"""Whether a result is what the textbook says, within the bound that the textbook derives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.backends import ARITHMETIC, BACKENDS
from tests.ops.operators import KNOWN
from tests.ops.textbook import Expected, compute_dtype, exact


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def bits(x: Tensor) -> Tensor:
    """The tensor's values as integers: equal only if the same bit for bit, NaN and -0 included."""
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16}[x.element_size()]
    return x.contiguous().view(integer)


def same_bits(a: Any, b: Any) -> bool:
    pairs = list(zip(as_tuple(a), as_tuple(b), strict=True))
    return all(x.dtype == y.dtype and torch.equal(bits(x), bits(y)) for x, y in pairs)


def check_close(actual: Tensor, expected: Expected, label: str) -> None:
    value, bound = expected
    assert actual.shape == value.shape, f"{label}: {tuple(actual.shape)}, not {value.shape}"
    error = abs(exact(actual) - value)
    # Infinite is right where the value, rounded, may be too large for the dtype.
    overflow = abs(value) + bound >= torch.finfo(actual.dtype).max
    error = np.where(overflow & (exact(actual) == np.copysign(np.inf, value)), 0, error)
    wrong = ~(error <= bound)
    if wrong.any():
        worst = np.unravel_index(np.argmax(np.where(wrong, error - bound, -1)), error.shape)
        raise AssertionError(
            f"{label}: {wrong.sum()} of {wrong.size} wrong; at {tuple(map(int, worst))} "
            f"{exact(actual)[worst]} instead of {value[worst]}, off by {error[worst]:.3g}, "
            f"where {np.broadcast_to(bound, error.shape)[worst]:.3g} is allowed"
        )


def check_operator(backend: str, name: str, args: tuple[Any, ...], label: str) -> None:
    """Runs an operator and compares its results with the textbook: values, dtype and layout."""
    before = [a.clone() if isinstance(a, Tensor) else a for a in args]
    results = as_tuple(BACKENDS[backend][name](*args))
    expected = KNOWN[name].expected(ARITHMETIC[backend], *args)
    samples = args[0]
    for i, (result, value) in enumerate(zip(results, expected, strict=True)):
        where = f"{backend} {label}, result {i}"
        like_samples = KNOWN[name].like_samples
        is_like = like_samples is None or i < like_samples
        dtype = samples.dtype if is_like else compute_dtype(samples.dtype)
        assert result.dtype == dtype, f"{where}: {result.dtype}, not {dtype}"
        if is_like and result.shape == samples.shape:
            check_packed(result, samples, where)
        check_close(result, value, where)
    for a, b in zip(args, before, strict=True):
        assert not isinstance(a, Tensor) or same_bits(a, b), f"{backend} {label}: an input changed"


def check_packed(result: Tensor, samples: Tensor, label: str) -> None:
    """The next sample begins where the last one ends; inside, they lie like the input's."""
    strides = (samples[0].numel(), *samples.stride()[1:])
    for size, actual, wanted in zip(samples.shape, result.stride(), strides, strict=True):
        assert size == 1 or actual == wanted, f"{label}: strides {result.stride()}, not {strides}"
