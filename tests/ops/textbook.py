"""What each operator must return, computed without the library, and how far off it may be.

The values come from numpy's ``longdouble`` (64 bits or more on Linux). The bounds are derived, not
tuned. With

    u = eps / 2    of the dtype in which an element is computed (float32; float64 for float64),
    v = eps / 2    of the dtype in which it is stored; 0 where both are the same,
    w = eps / 2    of the dtype in which a norm is computed (see ``Arithmetic``),
    t              the smallest subnormal of the dtype in which it is stored,

each rounding multiplies by (1 + d), |d| <= u. Products of several such factors are bounded to first
order, times ``SECOND_ORDER``; everything else is stated where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.layouts import Layout

SECOND_ORDER = 1.01
Wide = Any  # a numpy array of longdouble
#: What a result should be, and the largest absolute error that it may have.
Expected = tuple[Wide, Wide]


@dataclass(frozen=True)
class Known:
    """What the tests know of an operator.

    Args:
        expected: what it must return, from the arithmetic of the backend and its own arguments.
        arguments: its positional arguments, from a shape, a dtype, a layout and any number, the
            variant.
        like_samples: how many of its results are tensors like the samples; None for all. The rest
            are numbers of the compute dtype.
    """

    expected: Callable[..., list[Expected]]
    arguments: Callable[[tuple[int, ...], torch.dtype, Layout, int], tuple[Any, ...]]
    like_samples: int | None = None


def exact(x: Tensor) -> Wide:
    """The values of a tensor, exactly."""
    return x.detach().double().numpy().astype(np.longdouble)


def unit(dtype: torch.dtype) -> float:
    """The unit roundoff of a dtype, and on top of it that of the textbook itself."""
    return torch.finfo(dtype).eps / 2 + float(np.finfo(np.longdouble).eps) / 2


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def storage(dtype: torch.dtype) -> tuple[float, float]:
    """v and t: what it costs to store a value of the compute dtype in ``dtype``."""
    v = 0.0 if dtype == compute_dtype(dtype) else unit(dtype)
    return v, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def rows(values: Wide, like: Wide) -> Wide:
    """``[B]`` shaped to broadcast over ``[B, *]``."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
