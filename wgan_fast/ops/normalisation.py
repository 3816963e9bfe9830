r"""The second order of layer, group, instance and RMS normalisation: one operator for each pass.

A normalisation takes rows of M elements: :math:`n = (x - \mu) r` with the mean :math:`\mu` (0 for
RMS normalisation) and :math:`r = 1 / \sqrt{\mathrm{var} + \epsilon}`, and then
:math:`y = w n + b`. With :math:`P(h) = h - \bar h - n\, \overline{h n}` (the bar is the mean over
the row; :math:`P(h) = h - n\, \overline{h n}` without :math:`\mu`) and :math:`g = w\, grad_y`,

.. math:: grad_x = r P(g), \qquad grad_w = \sum grad_y\, n, \qquad grad_b = \sum grad_y

and with the tangents v, a, b of these three, :math:`h = a\, grad_y`, :math:`e = \overline{v n}`,
:math:`c = \overline{g n}` and :math:`q = \overline{v P(g)}`,

.. math::
    grad_{grad_y} &= w r P(v) + a n + b \\
    grad_x &= -r^2 (q n + e P(g) + c P(v)) + r P(h) \\
    grad_w &= \sum grad_y\, r P(v)

The row's own weights: a row is one of ``groups`` of a sample, and has a weight for every ``run``
elements. Layer and RMS normalisation: one group, runs of one element. Group normalisation: the
groups, runs of one channel; instance normalisation has as many groups as channels.

Source: arXiv 1607.06450 (layer), 1803.08494 (group), 1607.08022 (instance), 1910.07467 (RMS), and
differentiated twice here; ``csrc/common/normalised_row.h`` has the same formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._checks import check_samples, check_vector
from ._layout import compute_dtype
from ._op import Op


def _check_rows(
    x: Tensor, mean: Tensor | None, rstd: Tensor, weight: Tensor | None, groups: int, run: int
) -> int:
    """Returns how many weights there are."""
    check_samples(x, "x")
    rows = rstd.numel()
    if not x.is_contiguous():
        raise RuntimeError("x must be contiguous")
    if x.numel() == 0:
        raise RuntimeError("x must not be empty")
    if rows == 0 or x.numel() % rows:
        raise RuntimeError("rstd must have a number for each row of x")
    size = x.numel() // rows
    if groups < 1 or rows % groups:
        raise RuntimeError("groups must divide the rows of x")
    if run < 1 or size % run:
        raise RuntimeError("run must divide the size of a row")
    weights = groups * (size // run)
    check_vector(rstd, "rstd", x, rows)
    if mean is not None:
        check_vector(mean, "mean", x, rows)
    if weight is not None:
        check_vector(weight, "weight", x, weights)
    return weights


def _check_like(other: Tensor, name: str, x: Tensor) -> None:
    if other.shape != x.shape or other.dtype != x.dtype or other.device != x.device:
        raise RuntimeError(
            f"x and {name} must have the same shape, dtype, device and inner strides"
        )
    if not other.is_contiguous():
        raise RuntimeError(f"{name} must be contiguous")


def _check_backward(
    grad_y: Tensor,
    x: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    groups: int,
    run: int,
    *_: bool,
) -> None:
    _check_rows(x, mean, rstd, weight, groups, run)
    _check_like(grad_y, "grad_y", x)


def _check_double_backward(
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
    _: bool,
) -> None:
    weights = _check_rows(x, mean, rstd, weight, groups, run)
    _check_like(tangent, "tangent", x)
    _check_like(grad_y, "grad_y", x)
    if (tangent_weight is None) != (tangent_bias is None):
        raise RuntimeError("tangent_weight and tangent_bias must be given together")
    if weight is None and tangent_weight is not None:
        raise RuntimeError("tangent_weight must not be given without weight")
    if tangent_weight is not None and tangent_bias is not None:
        check_vector(tangent_weight, "tangent_weight", x, weights)
        check_vector(tangent_bias, "tangent_bias", x, weights)


class _Rows:
    """Rows as ``[samples, groups, weights of a group, run]``, and what is done to them.

    Args:
        dtype: in which everything is computed.
        x, mean, rstd, groups, run: as the operators take them. The statistics have the values that
            are given and the derivatives of those of ``x``, to any order, whatever epsilon was.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        x: Tensor,
        mean: Tensor | None,
        rstd: Tensor,
        groups: int,
        run: int,
    ) -> None:
        self.dtype, self.run, self.x = dtype, run, x
        self.shape = (rstd.numel() // groups, groups, x.numel() // rstd.numel() // run, run)
        self.is_centred = mean is not None
        rows = self.of(x)
        self.rstd = self._per_row(rstd.detach())
        if mean is not None:
            row_mean = self._mean(rows)
            rows = rows - (self._per_row(mean.detach()) + row_mean - row_mean.detach())
        if x.requires_grad and torch.is_grad_enabled():
            variance = self._mean(rows.square())
            self.rstd = (self.rstd.pow(-2) + variance - variance.detach()).rsqrt()
        self.normalised = rows * self.rstd

    def of(self, samples: Tensor) -> Tensor:
        """Samples as these rows."""
        return samples.reshape(self.shape).to(self.dtype)

    def spread(self, weight: Tensor) -> Tensor:
        """A number for each weight of a group, to be multiplied with rows."""
        return weight.to(self.dtype).reshape(1, *self.shape[1:3], 1)

    def project(self, rows: Tensor) -> Tensor:
        """P of the formulas."""
        centred = rows - self._mean(rows) if self.is_centred else rows
        return centred - self.normalised * self._mean(rows * self.normalised)

    def samples(self, rows: Tensor) -> Tensor:
        """Rows as samples again, in their dtype."""
        return rows.reshape(self.x.shape).to(self.x.dtype).contiguous()

    def add_up(self, rows: Tensor) -> Tensor:
        """The sum over all elements that have the same weight, for each weight."""
        return rows.sum((0, 3)).reshape(-1).to(compute_dtype(self.x.dtype))

    def _per_row(self, values: Tensor) -> Tensor:
        return values.to(self.dtype).reshape(*self.shape[:2], 1, 1)

    def _mean(self, rows: Tensor) -> Tensor:
        return rows.mean((2, 3), keepdim=True)

    mean = _mean


def _backward(
    dtype: torch.dtype,
    grad_y: Tensor,
    x: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    groups: int,
    run: int,
    to_x: bool,
    to_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = _Rows(dtype, x, mean, rstd, groups, run)
    grad = rows.of(grad_y)
    scaled = grad if weight is None else grad * rows.spread(weight)
    nothing = rstd.new_empty(0)
    return (
        rows.samples(rows.rstd * rows.project(scaled)) if to_x else x.new_empty(0),
        rows.add_up(grad * rows.normalised) if to_weight else nothing,
        rows.add_up(grad) if to_weight else nothing.clone(),
    )


def _double_backward(
    dtype: torch.dtype,
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
) -> tuple[Tensor, Tensor, Tensor]:
    rows = _Rows(dtype, x, mean, rstd, groups, run)
    v, grad, n, r = rows.of(tangent), rows.of(grad_y), rows.normalised, rows.rstd
    w = torch.ones((), dtype=dtype, device=x.device) if weight is None else rows.spread(weight)
    of_v, of_g = rows.project(v), rows.project(w * grad)
    e, c, q = rows.mean(v * n), rows.mean(w * grad * n), rows.mean(v * of_g)
    grad_grad_y = w * r * of_v
    grad_x = -r * r * (q * n + e * of_g + c * of_v)
    if tangent_weight is not None and tangent_bias is not None:
        a, b = rows.spread(tangent_weight), rows.spread(tangent_bias)
        grad_grad_y = grad_grad_y + a * n + b
        grad_x = grad_x + r * rows.project(a * grad)
    return (
        rows.samples(grad_grad_y),
        rows.samples(grad_x),
        rows.add_up(grad * r * of_v) if to_weight else rstd.new_empty(0),
    )


def differentiable_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass in plain PyTorch, which can be differentiated to any order."""
    return _backward(compute_dtype(args[1].dtype), *args)


def differentiable_double_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The double backward in plain PyTorch, which can be differentiated to any order."""
    return _double_backward(compute_dtype(args[2].dtype), *args)


def _fake_backward(grad_y: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    _, rstd, _, groups, run, to_x, to_weight = rest
    weights = groups * (x.numel() // rstd.numel() // run) if to_weight else 0
    grad_weight = rstd.new_empty(weights)
    return torch.empty_like(x) if to_x else x.new_empty(0), grad_weight, grad_weight.clone()


def _fake_double_backward(
    tangent: Tensor, grad_y: Tensor, x: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    _, rstd, _, _, _, groups, run, to_weight = rest
    weights = groups * (x.numel() // rstd.numel() // run) if to_weight else 0
    return torch.empty_like(x), torch.empty_like(x), rstd.new_empty(weights)


def statistics(
    x: Tensor, rows: int, centred: bool = True, eps: float = 1e-5
) -> tuple[Tensor | None, Tensor]:
    """Mean (None if not ``centred``) and reciprocal deviation of each row, ``[rows]``."""
    cut = x.reshape(rows, -1).double()
    mean = cut.mean(1) if centred else None
    deviation = cut if mean is None else cut - mean[:, None]
    rstd = (deviation.square().mean(1) + eps).rsqrt()
    dtype = compute_dtype(x.dtype)
    return None if mean is None else mean.to(dtype), rstd.to(dtype)


#: Shape, rows, groups, run, whether centred and whether scaled: one of each layer.
_SAMPLES = [
    ((4, 7), 4, 1, 1, True, True),
    ((3, 5), 3, 1, 1, False, True),
    ((2, 4, 3, 3), 4, 2, 9, True, True),
    ((2, 3, 5), 6, 3, 5, True, False),
]


def _samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for shape, rows, groups, run, centred, scaled in _SAMPLES:
        x = torch.randn(shape, dtype=dtype, device=device)
        mean, rstd = statistics(x, rows, centred)
        weight = rstd.new_empty(groups * (x.numel() // rows // run)).normal_() if scaled else None
        yield torch.randn_like(x), x, mean, rstd, weight, groups, run, True, scaled


def _double_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for *tensors, groups, run, _, scaled in _samples(dtype, device):
        weight = tensors[-1]
        tangents = (None, None) if weight is None else torch.randn_like(weight.expand(2, -1))
        yield torch.randn_like(tensors[0]), *tensors, *tangents, groups, run, scaled
        if scaled:
            yield torch.randn_like(tensors[0]), *tensors, None, None, groups, run, False


NORMALISATION_BACKWARD = Op(
    "normalisation_backward(Tensor grad_y, Tensor x, Tensor? mean, Tensor rstd, Tensor? weight, "
    "SymInt groups, SymInt run, bool to_x, bool to_weight) -> (Tensor, Tensor, Tensor)",
    check=_check_backward,
    reference=lambda *args: _backward(torch.float64, *args),
    pytorch=differentiable_backward,
    fake=_fake_backward,
    autograd=lambda kernel, *args: differentiable_backward(*args),
    samples=_samples,
)

NORMALISATION_DOUBLE_BACKWARD = Op(
    "normalisation_double_backward(Tensor tangent, Tensor grad_y, Tensor x, Tensor? mean, "
    "Tensor rstd, Tensor? weight, Tensor? tangent_weight, Tensor? tangent_bias, SymInt groups, "
    "SymInt run, bool to_weight) -> (Tensor, Tensor, Tensor)",
    check=_check_double_backward,
    reference=lambda *args: _double_backward(torch.float64, *args),
    pytorch=differentiable_double_backward,
    fake=_fake_double_backward,
    autograd=lambda kernel, *args: differentiable_double_backward(*args),
    samples=_double_samples,
)
