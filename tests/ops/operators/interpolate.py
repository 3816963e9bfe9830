"""random_interpolate and interpolate: a point between each real and fake sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.layouts import LAYOUTS, Layout, samples
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
from wgan_fast.ops._layout import rows_like


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

    Computed as e r + (f - e f): each product loses u times itself, the difference u (1 - e) |f|,
    and the sum u |x|, which with 0 <= e <= 1 is at most u (|r| + |f|).
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


def pair(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int) -> Any:
    """Real and fake, which may lie in memory differently: in variant 0 they do not."""
    real = samples(shape, dtype, layout)
    other = [layout, *LAYOUTS][variant % (len(LAYOUTS) + 1)]
    return real, rows_like(real, other(shape, dtype))


def one(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int) -> Any:
    return (samples(shape, dtype, layout),)


def given(shape: tuple[int, ...], dtype: torch.dtype, variant: int) -> tuple[Tensor]:
    return (torch.rand(shape[0], dtype=compute_dtype(dtype)),)


def seed(shape: tuple[int, ...], dtype: torch.dtype, variant: int) -> tuple[Tensor, int]:
    """A seed and the number of the first sample."""
    return torch.randint(-(2**63), 2**63 - 1, ()), [0, 7, 2**32 - 3, 2**40][variant % 4]


def both(first: Any, factors: Any) -> Any:
    """Arguments: what ``first`` makes, and then what ``factors`` does."""

    def arguments(
        shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
    ) -> tuple[Any, ...]:
        return *first(shape, dtype, layout, variant), *factors(shape, dtype, variant)

    return arguments


KNOWN = {
    "interpolate": Known(
        lambda how, real, fake, e: mixed(real, fake, exact(e)),
        both(pair, given),
    ),
    "interpolate_backward": Known(
        lambda how, grad, e: split(grad, exact(e)),
        both(one, given),
    ),
    "random_interpolate": Known(
        lambda how, real, fake, seed, first: mixed(real, fake, drawn(len(real), seed, first)),
        both(pair, seed),
    ),
    "random_interpolate_backward": Known(
        lambda how, grad, seed, first: split(grad, drawn(len(grad), seed, first)),
        both(one, seed),
    ),
}
