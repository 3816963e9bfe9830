"""The penalty of a large batch, slice by slice, in memory that grows with the slice.

Each slice is differentiated at once and its graph let go. What remains is the value and the
gradient of every leaf that it depends on; :class:`_WithGradients` ties the two together again, so
that the caller's ``backward()`` sees an ordinary scalar.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.autograd.graph import Node

from .._torch_internals import is_leaf_node, map_tensors

#: A part of the batch: a slice, or the indices of a random part.
Rows = slice | Tensor


def slices_of(batch: int, chunk_size: int | None) -> list[slice]:
    """The batch cut into pieces of ``chunk_size`` samples; the last may be shorter."""
    size = batch if chunk_size is None else min(chunk_size, batch)
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def part_of(tensor: Tensor, rows: Rows) -> Tensor:
    """Some rows; the tensor itself if a slice is all of it."""
    if isinstance(rows, slice) and rows.stop - rows.start == tensor.shape[0]:
        return tensor
    return tensor[rows]


def slice_arguments(arguments: Any, rows: Rows, batch: int) -> Any:
    """Every tensor in ``arguments`` with one row for each sample, cut to some rows."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[rows] if tensor.dim() > 0 and tensor.shape[0] == batch else tensor

    return map_tensors(cut, arguments)


def cut_off(arguments: Any) -> tuple[Any, dict[Tensor, Tensor]]:
    """The arguments without the graphs that they come from, and whom each new leaf stands for.

    What an argument was made from is the caller's, and common to all slices: it is differentiated
    once, in the caller's backward pass.
    """
    originals: dict[Tensor, Tensor] = {}

    def cut(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        leaf = tensor.detach().requires_grad_()
        originals[leaf] = tensor
        return leaf

    return map_tensors(cut, arguments), originals


def leaves_of(result: Tensor) -> list[Tensor]:
    """The leaf tensors that a result was computed from and that require a gradient."""
    leaves: list[Tensor] = []
    seen: set[Node] = set()
    waiting = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if is_leaf_node(node):
            leaves.append(node.variable)  # type: ignore[attr-defined]
        waiting.extend(following for following, _ in node.next_functions)
    return leaves


Evaluate = Callable[[slice], tuple[Tensor, Tensor, Tensor]]


def summed(
    pieces: list[slice], evaluate: Evaluate, originals: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The sum of a penalty over slices, and all their norms.

    Args:
        pieces: the slices.
        evaluate: returns the penalty of a slice, a scalar, its norms, ``[b]``, and its points.
        originals: whom leaves stand for, from :func:`cut_off`.

    Returns:
        The penalty, connected to every leaf that the slices depend on, and the norms, ``[B]``,
        without a graph. The penalty can be differentiated once.
    """
    total: Tensor | None = None
    norms: list[Tensor] = []
    gradients: dict[Tensor, Tensor] = {}
    for piece in pieces:
        value, piece_norms, points = evaluate(piece)
        norms.append(piece_norms.detach())
        # The points are made for the slice: nobody wants their gradient.
        leaves = [leaf for leaf in leaves_of(value) if leaf is not points]
        if leaves:
            with _without_hooks(leaves):
                # What the critic's weights were made from is common to the slices: it must
                # survive.
                parts = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
            for leaf, part in zip(leaves, parts, strict=True):
                if part is not None:
                    gradients[leaf] = gradients[leaf] + part if leaf in gradients else part
        total = value.detach() if total is None else total + value.detach()
        del value, piece_norms, points  # or this graph would live on beside the next one
    if gradients:
        owners = [originals.get(leaf, leaf) for leaf in gradients]
        total = _WithGradients.apply(total, len(owners), *gradients.values(), *owners)
    return cast(Tensor, total), torch.cat(norms)


def concatenated(pieces: list[slice], evaluate: Evaluate) -> tuple[Tensor, Tensor]:
    """The penalties of all samples, slice by slice, ``[B]``, and the norms, without a graph.

    Which gradient is wanted is known only in the backward pass, so each slice is computed again
    there, with the same random numbers.
    """
    results = [
        torch.utils.checkpoint.checkpoint(evaluate, piece, use_reentrant=False)
        if torch.is_grad_enabled()
        else evaluate(piece)
        for piece in pieces
    ]
    penalties, norms, _ = zip(*results, strict=True)
    return torch.cat(penalties), torch.cat([part.detach() for part in norms])


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradient with respect to some tensors is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors[:count])
        ctx.owners = tensors[count:]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gradients = [grad.to(part.dtype) * part for part in ctx.saved_tensors]
        if torch.is_grad_enabled():
            pairs = zip(gradients, ctx.owners, strict=True)
            gradients = [Once.apply(part, owner, _WHY_ONCE) for part, owner in pairs]
        return None, None, *(None for _ in gradients), *gradients


_WHY_ONCE = (
    "a penalty with chunk_size can be differentiated only once; leave chunk_size out, or use "
    'reduction="none", to differentiate its gradient in turn'
)


class Once(torch.autograd.Function):
    """A gradient that cannot be differentiated again: what it was computed from is gone."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, owner: Tensor, why: str) -> Tensor:
        ctx.why = why
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise RuntimeError(ctx.why)


@contextlib.contextmanager
def _without_hooks(leaves: list[Tensor]) -> Iterator[None]:
    """The leaves' own hooks set aside: they run once, in the caller's backward pass."""
    hooks = [leaf._backward_hooks for leaf in leaves]
    try:
        for leaf in leaves:
            leaf._backward_hooks = None
        yield
    finally:
        for leaf, own in zip(leaves, hooks, strict=True):
            leaf._backward_hooks = own
