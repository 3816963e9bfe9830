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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._torch_internals import forward_mode_active
from ._checks import check_same, check_samples, check_vector
from ._layout import compute_dtype
from ._op import Op


class _Given(NamedTuple):
    """What both operators are told of a normalisation.

    Args:
        x: what was normalised, cut into as many rows as ``rstd`` has numbers.
        mean, rstd: of each row, ``[rows]``; no mean where none was subtracted.
        weight: ``[groups * weights of a group]``, or None.
        groups, run: how the rows of a sample lie; see above.
    """

    x: Tensor
    mean: Tensor | None
    rstd: Tensor
    weight: Tensor | None
    groups: int
    run: int

    @property
    def weights(self) -> int:
        """How many weights there are, or would be."""
        return self.groups * (self.x.numel() // self.rstd.numel() // self.run)

    def check(self) -> None:
        x, rows = self.x, self.rstd.numel()
        check_samples(x, "x")
        if not x.is_contiguous():
            raise RuntimeError("x must be contiguous")
        if x.numel() == 0:
            raise RuntimeError("x must not be empty")
        if rows == 0 or x.numel() % rows:
            raise RuntimeError("rstd must have a number for each row of x")
        if self.groups < 1 or rows % self.groups:
            raise RuntimeError("groups must divide the rows of x")
        if self.run < 1 or x.numel() // rows % self.run:
            raise RuntimeError("run must divide the size of a row")
        check_vector(self.rstd, "rstd", x, rows)
        if self.mean is not None:
            check_vector(self.mean, "mean", x, rows)
        if self.weight is not None:
            check_vector(self.weight, "weight", x, self.weights)

    def check_like(self, other: Tensor, name: str) -> None:
        check_same(self.x, "x", other, name)
        if not other.is_contiguous():
            raise RuntimeError(f"{name} must be contiguous")


class _Backward(NamedTuple):
    """The arguments of the backward pass."""

    given: _Given
    grad_y: Tensor
    to_x: bool
    to_weight: bool

    @classmethod
    def of(cls, grad_y: Tensor, *args: Any) -> _Backward:
        """Of the operator's arguments."""
        return cls(_Given(*args[:6]), grad_y, *args[6:])

    def check(self) -> None:
        self.given.check()
        self.given.check_like(self.grad_y, "grad_y")


class _DoubleBackward(NamedTuple):
    """The arguments of the double backward."""

    given: _Given
    tangent: Tensor
    grad_y: Tensor
    tangent_weight: Tensor | None
    tangent_bias: Tensor | None
    to_weight: bool

    @classmethod
    def of(cls, tangent: Tensor, grad_y: Tensor, *args: Any) -> _DoubleBackward:
        """Of the operator's arguments, in which the tangents of the weights follow the weights."""
        given = _Given(*args[:4], *args[6:8])
        return cls(given, tangent, grad_y, *args[4:6], *args[8:])

    def check(self) -> None:
        given, a, b = self.given, self.tangent_weight, self.tangent_bias
        given.check()
        given.check_like(self.tangent, "tangent")
        given.check_like(self.grad_y, "grad_y")
        if (a is None) != (b is None):
            raise RuntimeError("tangent_weight and tangent_bias must be given together")
        if given.weight is None and a is not None:
            raise RuntimeError("tangent_weight must not be given without weight")
        if a is not None and b is not None:
            check_vector(a, "tangent_weight", given.x, given.weights)
            check_vector(b, "tangent_bias", given.x, given.weights)


class _Rows:
    """Rows as ``[samples, groups, weights of a group, run]``, and what is done to them.

    The statistics have the values that are given and the derivatives of those of ``x``, to any
    order, whatever epsilon was.

    Args:
        dtype: in which everything is computed.
        given: what the operators were told.
    """

    def __init__(self, dtype: torch.dtype, given: _Given) -> None:
        x, mean, rstd, groups, run = given.x, given.mean, given.rstd, given.groups, given.run
        self.dtype, self.run, self.x = dtype, run, x
        self.shape = (rstd.numel() // groups, groups, x.numel() // rstd.numel() // run, run)
        self.is_centred = mean is not None
        rows = self.of(x)
        self.rstd = self._per_row(rstd.detach())
        if mean is not None:
            row_mean = self._mean(rows)
            rows = rows - (self._per_row(mean.detach()) + row_mean - row_mean.detach())
        # In forward mode, nothing says whether x has a tangent: requires_grad does not.
        if forward_mode_active() or (x.requires_grad and torch.is_grad_enabled()):
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


def _backward(dtype: torch.dtype, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, grad_y, to_x, to_weight = _Backward.of(*args)
    rows = _Rows(dtype, given)
    grad = rows.of(grad_y)
    scaled = grad if given.weight is None else grad * rows.spread(given.weight)
    nothing = given.rstd.new_empty(0)
    return (
        rows.samples(rows.rstd * rows.project(scaled)) if to_x else given.x.new_empty(0),
        rows.add_up(grad * rows.normalised) if to_weight else nothing,
        rows.add_up(grad) if to_weight else nothing.clone(),
    )


def _double_backward(dtype: torch.dtype, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, tangent, grad_y, tangent_weight, tangent_bias, to_weight = _DoubleBackward.of(*args)
    rows = _Rows(dtype, given)
    v, grad, n, r = rows.of(tangent), rows.of(grad_y), rows.normalised, rows.rstd
    one = torch.ones((), dtype=dtype, device=given.x.device)
    w = one if given.weight is None else rows.spread(given.weight)
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
        rows.add_up(grad * r * of_v) if to_weight else given.rstd.new_empty(0),
    )


def differentiable_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass in plain PyTorch, which can be differentiated to any order."""
    return _backward(compute_dtype(args[1].dtype), *args)


def differentiable_double_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The double backward in plain PyTorch, which can be differentiated to any order."""
    return _double_backward(compute_dtype(args[2].dtype), *args)


def _fake_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    given, _, to_x, to_weight = _Backward.of(*args)
    grad_weight = given.rstd.new_empty(given.weights if to_weight else 0)
    return (
        torch.empty_like(given.x) if to_x else given.x.new_empty(0),
        grad_weight,
        grad_weight.clone(),
    )


def _fake_double_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = _DoubleBackward.of(*args)
    x, weights = call.given.x, call.given.weights if call.to_weight else 0
    return torch.empty_like(x), torch.empty_like(x), call.given.rstd.new_empty(weights)


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
    check=lambda *args: _Backward.of(*args).check(),
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
    check=lambda *args: _DoubleBackward.of(*args).check(),
    reference=lambda *args: _double_backward(torch.float64, *args),
    pytorch=differentiable_double_backward,
    fake=_fake_double_backward,
    autograd=lambda kernel, *args: differentiable_double_backward(*args),
    samples=_double_samples,
)
