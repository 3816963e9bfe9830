"""norm_penalty: the norm of each sample's gradient, its penalty, and their sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.backends import Arithmetic
from tests.ops.layouts import Layout, samples
from tests.ops.textbook import (
    SECOND_ORDER,
    Expected,
    Known,
    Wide,
    compute_dtype,
    exact,
    rows,
    storage,
    unit,
)

#: target, one_sided, power, scale, reduce
SETTINGS = [
    (1.0, False, 2.0, 10.0, True),
    (1.0, False, 2.0, 1.0, False),
    (1.0, True, 2.0, 10.0, False),
    (0.7, True, 2.0, 0.3, True),
    (0.0, False, 2.0, 0.5, True),
    (0.0, False, 6.0, 2.0, False),
    (2.3, False, 1.0, 1.0, True),
    (0.1, False, 1.5, 10.0, False),
    (75.0, False, 3.0, 0.1, True),
]


def norms_of(gradients: Tensor) -> Tensor:
    """``[B]``, of the dtype that the operators return, without over- or underflow."""
    rows = gradients.double().reshape(len(gradients), -1)
    largest = rows.abs().amax(1, keepdim=True)
    norms = torch.linalg.vector_norm(rows / largest.masked_fill(largest == 0, 1), dim=1)
    return (norms * largest.squeeze(1)).to(compute_dtype(gradients.dtype))


def term(n: Wide, target: float, one_sided: bool, power: float) -> Wide:
    distance = n - np.longdouble(target)
    return abs(np.maximum(distance, 0) if one_sided else distance) ** power


def term_derivative(n: Wide, target: float, one_sided: bool, power: float) -> Wide:
    distance = n - np.longdouble(target)
    if one_sided:
        distance = np.maximum(distance, 0)
    return power * np.sign(distance) * abs(distance) ** (power - 1)


def spread(function: Callable[..., Wide], n: Wide, error: Wide, *settings: Any) -> Wide:
    """How much a convex or monotone function can change where its argument is off by ``error``."""
    here = function(n, *settings)
    below, above = (function(n + side * error, *settings) for side in (-1, 1))
    return np.maximum(abs(above - here), abs(below - here))


def norm_error(dim: int, dtype: torch.dtype, arithmetic: Arithmetic) -> float:
    """The relative error of a norm before it is rounded: (a / 2 + 1) w.

    A square passes through its own rounding and a - 1 additions, a <= D; all summands are
    positive, so that the sum is off by a w at most, its root by half of that and one rounding.
    """
    w = unit(arithmetic.wide or compute_dtype(dtype))
    additions = dim if arithmetic.additions is None else min(dim, arithmetic.additions)
    return SECOND_ORDER * (additions / 2 + 1) * w


def norm_penalty(
    arithmetic: Arithmetic,
    gradients: Tensor,
    target: float,
    one_sided: bool,
    power: float,
    scale: float,
    reduce: bool,
) -> list[Expected]:
    """n = ||g|| within ``norm_error`` n + u n, and the penalty.

    The distance of n from the target is off by the error of n, and w (n + |target|) for the
    subtraction and for a target that is not a number of dtype w; the term by its ``spread`` over
    that, and by (p + 8) w for the power, the scale and their products. A sum of B positive terms
    loses B w more, and the result is rounded to u.
    """
    g = exact(gradients).reshape(len(gradients), -1)
    largest = abs(g).max(axis=1, keepdims=True)
    scaled = g / np.where(largest > 0, largest, 1)
    n = np.sqrt((scaled * scaled).sum(axis=1)) * largest[:, 0]
    compute = compute_dtype(gradients.dtype)
    u, w = unit(compute), unit(arithmetic.wide or compute)
    tiny = torch.finfo(compute).smallest_normal * torch.finfo(compute).eps
    relative = norm_error(g.shape[1], gradients.dtype, arithmetic)
    settings = (target, one_sided, power)
    off = relative * n + w * (n + abs(target))
    value = scale * term(n, *settings)
    error = abs(scale) * spread(term, n, off, *settings) + (power + 8) * w * abs(value)
    if reduce:
        error = error.sum() + len(n) * w * abs(value).sum()
        value = value.sum()
    penalty_bound = SECOND_ORDER * (error + u * abs(value)) + tiny
    return [(value, penalty_bound), (n, SECOND_ORDER * (relative + u) * n + tiny)]


def norm_penalty_backward(
    gradients: Tensor,
    norms: Tensor,
    grad_penalty: Tensor,
    grad_norms: Tensor | None,
    target: float,
    one_sided: bool,
    power: float,
    scale: float,
    reduce: bool,
) -> list[Expected]:
    """(scale p T'(n) + q) g / n, with p, q and n as given; 0 where n is 0.

    Everything may be computed in the compute dtype: the distance from the target loses
    u (n + |target|), which T' takes over as its ``spread``; T' itself, its factors, the sum, the
    unit vector and the last product lose at most (power + 10) u of scale p T' and of q. An element
    of the unit vector may underflow, which costs t of the compute dtype times the slope.
    """
    g = exact(gradients)
    n = rows(exact(norms), g)
    p = rows(exact(grad_penalty).reshape(-1) * np.ones(len(g)), g)
    q = 0 * n if grad_norms is None else rows(exact(grad_norms), g)
    settings = (target, one_sided, power)
    compute = compute_dtype(gradients.dtype)
    u = unit(compute)
    v, t = storage(gradients.dtype)
    tiny = torch.finfo(compute).smallest_normal * torch.finfo(compute).eps
    off = u * (n + abs(target))
    slope = scale * p * term_derivative(n, *settings)
    error = abs(scale * p) * spread(term_derivative, n, off, *settings)
    error = error + (power + 10) * u * (abs(slope) + abs(q))
    direction = g / np.where(n > 0, n, 1)
    value = np.where(n > 0, (slope + q) * direction, 0)
    bound = error * abs(direction) + tiny * (abs(slope) + abs(q) + 1) + v * abs(value)
    return [(value, np.where(n > 0, SECOND_ORDER * bound + t, 0))]


def arguments(
    shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    return samples(shape, dtype, layout), *SETTINGS[variant % len(SETTINGS)]


def backward_arguments(
    shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    gradients, *settings = arguments(shape, dtype, layout, variant)
    norms = norms_of(gradients)
    grad_penalty = torch.randn((), dtype=norms.dtype)
    if not settings[-1]:
        grad_penalty = torch.randn_like(norms)
    grad_norms = torch.randn_like(norms) if variant % 2 else None
    return gradients, norms, grad_penalty, grad_norms, *settings


KNOWN = {
    "norm_penalty": Known(norm_penalty, arguments, like_samples=0),
    "norm_penalty_backward": Known(
        lambda how, *args: norm_penalty_backward(*args), backward_arguments
    ),
}
