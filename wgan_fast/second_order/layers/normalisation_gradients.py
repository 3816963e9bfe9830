"""Normalisations, their backward pass, and the backward pass of that.

The forward pass is PyTorch's own. What follows is the two operators of ``ops/normalisation.py``;
beyond the second order, inside a transform and in forward mode, the same formulas in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from ..._torch_internals import forward_mode_active, is_batched, transforms_active
from ...ops._layout import compute_dtype
from ...ops.normalisation import (
    NORMALISATION_BACKWARD,
    NORMALISATION_DOUBLE_BACKWARD,
    differentiable_backward,
    differentiable_double_backward,
)
from .._recording import wanted_gradients


class Rows(NamedTuple):
    """How a normalisation cuts its input into rows; see ``ops/normalisation.py``.

    Args:
        kind: which of PyTorch's functions it is, "layer", "group" or "rms".
        shape: the dimensions of a row of "layer" and "rms".
        groups: of a sample, each of them a row.
        run: how many consecutive elements of a row have the same weight.
        eps: what is added to the variance.
    """

    kind: str
    shape: Sequence[int]
    groups: int
    run: int
    eps: float


def normalise(input: Tensor, weight: Tensor | None, bias: Tensor | None, rows: Rows) -> Tensor:
    """The normalisation of a contiguous input that requires a gradient."""
    return _Normalise.apply(input, weight, bias, rows)


def _forward(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, rows: Rows
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Output, mean (None where none is subtracted) and reciprocal deviation of each row."""
    if rows.kind == "layer":
        return torch.native_layer_norm(input, rows.shape, weight, bias, rows.eps)
    if rows.kind == "group":
        samples, channels, *inner = input.shape
        size = torch.Size(inner).numel()
        return torch.native_group_norm(
            input, weight, bias, samples, channels, size, rows.groups, rows.eps
        )
    inner = tuple(range(-len(rows.shape), 0))
    norm = torch.linalg.vector_norm(input, dim=inner, dtype=compute_dtype(input.dtype))
    rstd = (norm.square() / torch.Size(rows.shape).numel() + rows.eps).rsqrt()
    return torch.rms_norm(input, rows.shape, weight, rows.eps), None, rstd


class _Normalise(Function):
    passes_every_gradient = True

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, rows: Rows
    ) -> Tensor:
        ctx.set_materialize_grads(False)  # a gradient that was cut off must not return as zeros
        output, mean, rstd = _forward(input, weight, bias, rows)
        dtype = compute_dtype(input.dtype)
        mean = None if mean is None else mean.to(dtype).flatten()
        ctx.save_for_backward(input, mean, rstd.to(dtype).flatten(), weight)
        ctx.rows = rows
        ctx.has_bias = bias is not None
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None, None
        input, mean, rstd, weight = ctx.saved_tensors
        wanted = iter(wanted_gradients(ctx))  # of the tensors alone
        to_x = next(wanted)
        to_weight = weight is not None and next(wanted)
        to_bias = ctx.has_bias and next(wanted)
        flat = None if weight is None else weight.flatten().to(rstd.dtype)
        grad_x, *grads = _backward(
            *(grad.contiguous(), input, mean, rstd, flat),
            *(ctx.rows.groups, ctx.rows.run, to_x, to_weight or to_bias),
        )
        grad_weight, grad_bias = (  # a bias is like its weight
            each.view_as(weight).to(weight.dtype) if weight is not None and wanted else None
            for each, wanted in zip(grads, (to_weight, to_bias), strict=True)
        )
        return grad_x if to_x else None, grad_weight, grad_bias, None


class _Backward(Function):
    passes_every_gradient = True

    @staticmethod
    def forward(
        ctx: Any,
        grad_y: Tensor,
        input: Tensor,
        weight: Tensor | None,
        mean: Tensor | None,
        rstd: Tensor,
        groups: int,
        run: int,
        to_x: bool,
        to_weight: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad_y, input, mean, rstd, weight)
        ctx.cut = groups, run
        tensors = grad_y, input, mean, rstd, weight
        return NORMALISATION_BACKWARD(*tensors, groups, run, to_x, to_weight)

    @staticmethod
    def backward(
        ctx: Any, tangent: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        tangents = tangent, of_weight, of_bias
        if all(each is None for each in tangents):
            return (None,) * 9
        grad_y, input, mean, rstd, weight = ctx.saved_tensors
        wanted = wanted_gradients(ctx)  # of the tensors alone
        to_weight = weight is not None and wanted[2]
        if weight is not None and (of_weight is not None or of_bias is not None):
            of_weight, of_bias = (
                torch.zeros_like(weight) if each is None else each.contiguous()
                for each in (of_weight, of_bias)
            )
        grad_grad_y, grad_x, grad_weight = _double_backward(
            torch.zeros_like(input) if tangent is None else tangent.contiguous(),
            *(grad_y, input, mean, rstd, weight, of_weight, of_bias),
            *(*ctx.cut, to_weight),
        )
        return (
            grad_grad_y if wanted[0] else None,
            grad_x if wanted[1] else None,
            grad_weight if to_weight else None,
            *(None,) * 6,
        )


# Both passes: recorded for differentiation only where that goes on, in plain PyTorch where an
# operator cannot be called.


def _is_plain(*gradients: Tensor | None) -> bool:
    """Whether these are tensors in memory, of no transform, vectorised pass or forward mode."""
    return not (
        transforms_active()
        or forward_mode_active()
        or any(gradient is not None and is_batched(gradient) for gradient in gradients)
    )


def _backward(
    grad_y: Tensor,
    input: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    *settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    if not _is_plain(grad_y):
        return differentiable_backward(grad_y, input, mean, rstd, weight, *settings)
    if torch.is_grad_enabled():
        return _Backward.apply(grad_y, input, weight, mean, rstd, *settings)
    return NORMALISATION_BACKWARD(grad_y, input, mean, rstd, weight, *settings)


def _double_backward(
    tangent: Tensor,
    grad_y: Tensor,
    input: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    weight: Tensor | None,
    of_weight: Tensor | None,
    of_bias: Tensor | None,
    *settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    args = tangent, grad_y, input, mean, rstd, weight, of_weight, of_bias, *settings
    if torch.is_grad_enabled() or not _is_plain(tangent, of_weight, of_bias):
        return differentiable_double_backward(*args)
    return NORMALISATION_DOUBLE_BACKWARD(*args)
