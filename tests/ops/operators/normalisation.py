"""normalisation_backward and normalisation_double_backward: layers, groups, instances, RMS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.backends import Arithmetic
from tests.ops.layouts import Layout
from tests.ops.textbook import (
    SECOND_ORDER,
    Expected,
    Known,
    Wide,
    compute_dtype,
    exact,
    storage,
    unit,
)

#: What is added to the variance: much, so that rows of one element have ordinary derivatives, too.
EPS = 0.1


@dataclass(frozen=True)
class Cut:
    """How samples are cut into rows, by the name of the layer that cuts them so."""

    rows: int
    groups: int
    run: int
    centred: bool = True


def cut_of(shape: tuple[int, ...], variant: int) -> Cut:
    """A layer, RMS, group or instance normalisation; the last two if there are channels."""
    batch = shape[0]
    kind = ("layer", "instance", "group", "rms")[variant % 4]
    if kind in ("layer", "rms") or len(shape) < 2:
        return Cut(batch, 1, 1, kind != "rms")
    channels, inner = shape[1], int(np.prod(shape[2:]))
    groups = channels if kind == "instance" else next(g for g in (3, 2, 1) if channels % g == 0)
    return Cut(batch * groups, groups, inner)


class Rows:
    """The rows of one call, ``[samples, groups, weights of a group, run]``, exactly."""

    def __init__(
        self,
        arithmetic: Arithmetic,
        x: Tensor,
        mean: Tensor | None,
        rstd: Tensor,
        weight: Tensor | None,
        groups: int,
        run: int,
    ) -> None:
        self.size = x.numel() // rstd.numel()
        self.shape = (rstd.numel() // groups, groups, self.size // run, run)
        self.r = exact(rstd).reshape(*self.shape[:2], 1, 1)
        centred = self.of(x) if mean is None else self.of(x) - self.per_row(mean)
        self.n = centred * self.r
        self.w = np.longdouble(1) if weight is None else self.per_weight(weight)
        self.centred = np.longdouble(mean is not None)
        dtype = compute_dtype(x.dtype)
        self.u, self.wide = unit(dtype), unit(arithmetic.wide or dtype)
        additions = self.size
        if arithmetic.additions is not None:
            additions = min(additions, arithmetic.additions)
        # Of a mean, relative to that of the magnitudes: six roundings of a term, the additions, the
        # division.
        self.sum_error = (additions + 8) * self.wide
        self.v, self.t = storage(x.dtype)
        self.x = x

    def of(self, x: Tensor) -> Wide:
        return exact(x).reshape(self.shape)

    def per_row(self, values: Tensor) -> Wide:
        return exact(values).reshape(*self.shape[:2], 1, 1)

    def per_weight(self, values: Tensor) -> Wide:
        return exact(values).reshape(1, *self.shape[1:3], 1)

    def mean(self, rows: Wide) -> Wide:
        return rows.mean(axis=(2, 3), keepdims=True)

    def project(self, rows: Wide) -> Wide:
        return rows - self.centred * self.mean(rows) - self.n * self.mean(rows * self.n)

    def size_of(self, rows: Wide) -> Wide:
        """The sum of the magnitudes that :meth:`project` adds up."""
        n = abs(self.n)
        return abs(rows) + self.centred * self.mean(abs(rows)) + n * self.mean(abs(rows) * n)

    def elements(self, value: Wide, magnitude: Wide, roundings: int) -> Expected:
        """Each rounding loses u of the magnitude, each mean in it its ``sum_error``, three at most;
        what is smaller than a normal number, a subnormal one."""
        error = (roundings * self.u + 3 * self.sum_error) * magnitude
        bound = SECOND_ORDER * (error + self.v * abs(value)) + roundings * self.t
        shape = tuple(self.x.shape)
        return value.reshape(shape), bound.reshape(shape)

    def weights(self, value: Wide, magnitude: Wide, roundings: int) -> Expected:
        """The sum over all elements that share a weight, in any order."""
        count = self.shape[0] * self.shape[3]
        error = roundings * self.u + self.sum_error + count * self.wide
        total, size = value.sum(axis=(0, 3)).ravel(), magnitude.sum(axis=(0, 3)).ravel()
        return total, SECOND_ORDER * error * size + count * self.t


NOTHING: Expected = (np.zeros(0, np.longdouble), np.zeros(0, np.longdouble))


def backward(
    arithmetic: Arithmetic,
    grad_y: Tensor,
    x: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    groups: int,
    run: int,
    to_x: bool,
    to_weight: bool,
) -> list[Expected]:
    rows = Rows(arithmetic, x, mean, rstd, weight, groups, run)
    grad = rows.of(grad_y)
    g = rows.w * grad
    of_x = rows.elements(rows.r * rows.project(g), rows.r * rows.size_of(g), 8)
    of_weight = rows.weights(grad * rows.n, abs(grad * rows.n), 5)
    of_bias = rows.weights(grad, abs(grad), 2)
    weights = [of_weight, of_bias] if to_weight else [NOTHING, NOTHING]
    return [of_x if to_x else NOTHING, *weights]


def double_backward(
    arithmetic: Arithmetic,
    tangent: Tensor,
    grad_y: Tensor,
    x: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    tangent_weight: Tensor | None,
    tangent_bias: Tensor | None,
    groups: int,
    run: int,
    to_weight: bool,
) -> list[Expected]:
    rows = Rows(arithmetic, x, mean, rstd, weight, groups, run)
    grad, v, n, r = rows.of(grad_y), rows.of(tangent), rows.n, rows.r
    g = rows.w * grad
    a = b = np.longdouble(0)
    if tangent_weight is not None and tangent_bias is not None:
        a, b = rows.per_weight(tangent_weight), rows.per_weight(tangent_bias)
    h = a * grad
    e, c, q = rows.mean(v * n), rows.mean(g * n), rows.mean(v * rows.project(g))
    projected, size = r * rows.project(v), r * rows.size_of(v)
    size_e, size_c = rows.mean(abs(v * n)), rows.mean(abs(g * n))
    size_q = rows.mean(abs(v) * rows.size_of(g)) + 2 * size_c * size_e
    of_x = -r * r * (q * n + e * rows.project(g) + c * rows.project(v)) + r * rows.project(h)
    size_of_x = r * r * (
        size_q * abs(n) + size_e * rows.size_of(g) + size_c * rows.size_of(v)
    ) + r * rows.size_of(h)
    shape = np.ones(rows.shape)
    return [
        rows.elements(
            rows.w * projected + (a * n + b) * shape,
            abs(rows.w) * size + abs(a * n) + abs(b) * shape,
            10,
        ),
        rows.elements(of_x, size_of_x, 20),
        rows.weights(grad * projected, abs(grad) * size, 10) if to_weight else NOTHING,
    ]


def statistics(x: Tensor, cut: Cut) -> tuple[Tensor | None, Tensor]:
    rows = x.double().reshape(cut.rows, -1)
    mean = rows.mean(1) if cut.centred else torch.zeros(cut.rows, dtype=torch.float64)
    rstd = ((rows - mean[:, None]).square().mean(1) + EPS).rsqrt()
    dtype = compute_dtype(x.dtype)
    return (mean.to(dtype) if cut.centred else None), rstd.to(dtype)


def arguments(
    shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    """grad_y, x, mean, rstd, weight, groups, run, to_x, to_weight."""
    cut = cut_of(shape, variant)
    x, grad_y = (layout(shape, dtype).contiguous() for _ in range(2))
    mean, rstd = statistics(x, cut)
    weight = None
    if variant % 5 != 4:
        weights = cut.groups * (x.numel() // cut.rows // cut.run)
        weight = torch.randn(weights, dtype=rstd.dtype)
    wanted = [(True, True), (True, False), (True, True), (False, True)][variant // 4 % 4]
    return grad_y, x, mean, rstd, weight, cut.groups, cut.run, *wanted


def double_arguments(
    shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    grad_y, x, mean, rstd, weight, groups, run, _, to_weight = arguments(
        shape, dtype, layout, variant
    )
    tangents: tuple[Tensor | None, Tensor | None] = (None, None)
    if weight is not None and variant % 3 == 1:
        tangents = torch.randn_like(weight), torch.randn_like(weight)
    tangent = layout(shape, dtype).contiguous()
    return tangent, grad_y, x, mean, rstd, weight, *tangents, groups, run, to_weight


KNOWN = {
    "normalisation_backward": Known(backward, arguments, like_samples=1),
    "normalisation_double_backward": Known(double_backward, double_arguments, like_samples=2),
}
