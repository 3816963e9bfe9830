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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.backends import Arithmetic

SECOND_ORDER = 1.01
Wide = Any  # a numpy array of longdouble
#: What a result should be, and the largest absolute error that it may have.
Expected = tuple[Wide, Wide]


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


def philox4x32_10(counter: list[Any], key: list[Any]) -> list[Any]:
    """The generator as its paper describes it (Salmon et al., SC 2011), on arrays of uint64."""
    c, k = [np.atleast_1d(np.uint64(word)) for word in counter], [int(word) for word in key]
    for _ in range(10):
        high0, low0 = divmod(c[0] * np.uint64(0xD2511F53), np.uint64(2**32))
        high1, low1 = divmod(c[2] * np.uint64(0xCD9E8D57), np.uint64(2**32))
        c = [high1 ^ c[1] ^ np.uint64(k[0]), low1, high0 ^ c[3] ^ np.uint64(k[1]), low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def drawn(batch: int, seed: Tensor | int, first_sample: int) -> Wide:
    """The mixing factors of a batch: the first 24 bits that Philox draws for each sample."""
    samples = np.array([(first_sample + b) % 2**64 for b in range(batch)], dtype=np.uint64)
    zero = np.zeros_like(samples)
    counter = [samples % np.uint64(2**32), samples >> np.uint64(32), zero, zero]
    words = philox4x32_10(counter, [int(seed) % 2**32, (int(seed) >> 32) % 2**32])
    return (words[0] >> np.uint64(8)).astype(np.longdouble) / 2**24


def mixed(real: Tensor, fake: Tensor, factors: Wide) -> list[Expected]:
    """x = e r + (1 - e) f, within 3 u (|r| + |f|) + v |x| + t.

    Computed as f + e (r - f): the difference and the product each lose u |r - f| e, the sum loses
    u |x|, and with 0 <= e <= 1 both |r - f| e and |x| are at most |r| + |f|.
    """
    r, f = exact(real), exact(fake)
    e = rows(factors, r)
    value = e * r + (1 - e) * f
    u = unit(compute_dtype(real.dtype))
    v, t = storage(real.dtype)
    bound = SECOND_ORDER * (3 * u * (abs(r) + abs(f)) + v * abs(value)) + t
    return [(value, bound)]


def split(grad: Tensor, factors: Wide) -> list[Expected]:
    """e g and (1 - e) g: one rounding each, two with 1 - e: within (2 u + v) |value| + t."""
    g = exact(grad)
    e = rows(factors, g)
    v, t = storage(grad.dtype)
    error = SECOND_ORDER * (2 * unit(compute_dtype(grad.dtype)) + v)
    return [(value, error * abs(value) + t) for value in (e * g, (1 - e) * g)]


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


#: Operator -> what it must return for its arguments, given the arithmetic of the backend.
TEXTBOOK: dict[str, Callable[..., list[Expected]]] = {
    "interpolate": lambda how, real, fake, e: mixed(real, fake, exact(e)),
    "interpolate_backward": lambda how, grad, e: split(grad, exact(e)),
    "random_interpolate": lambda how, real, fake, seed, first: mixed(
        real, fake, drawn(len(real), seed, first)
    ),
    "random_interpolate_backward": lambda how, grad, seed, first: split(
        grad, drawn(len(grad), seed, first)
    ),
    "norm_penalty": norm_penalty,
    "norm_penalty_backward": lambda how, *args: norm_penalty_backward(*args),
}
