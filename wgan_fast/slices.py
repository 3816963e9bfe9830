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
from torch.utils._pytree import tree_map_only


def slices_of(batch: int, chunk_size: int | None) -> list[slice]:
    """The batch cut into pieces of ``chunk_size`` samples; the last may be shorter."""
    size = batch if chunk_size is None else min(chunk_size, batch)
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def part_of(tensor: Tensor, piece: slice) -> Tensor:
    """The rows of a slice; the tensor itself if that is all of it."""
    return tensor if piece.stop - piece.start == tensor.shape[0] else tensor[piece]


def slice_arguments(arguments: Any, piece: slice, batch: int) -> Any:
    """Every tensor in ``arguments`` with one row for each sample, cut to ``piece``."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[piece] if tensor.dim() > 0 and tensor.shape[0] == batch else tensor

    return tree_map_only(Tensor, cut, arguments)


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
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            leaves.append(variable)
        waiting.extend(following for following, _ in node.next_functions)
    return leaves


Evaluate = Callable[[slice], tuple[Tensor, Tensor]]


def summed(pieces: list[slice], evaluate: Evaluate) -> tuple[Tensor, Tensor]:
    """The sum of a penalty over slices, and all their norms.

    Args:
        pieces: the slices.
        evaluate: returns the penalty of a slice, a scalar, and its norms, ``[b]``.

    Returns:
        The penalty, connected to every leaf that the slices depend on, and the norms, ``[B]``,
        without a graph. The penalty can be differentiated once.
    """
    total: Tensor | None = None
    norms: list[Tensor] = []
    gradients: dict[Tensor, Tensor | None] = {}
    for piece in pieces:
        value, piece_norms = evaluate(piece)
        norms.append(piece_norms.detach())
        leaves = leaves_of(value)
        if leaves:
            with _without_hooks(leaves):
                # What the critic's arguments were made from is common to the slices and the
                # caller's: it must survive.
                parts = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
            for leaf, part in zip(leaves, parts, strict=True):
                before = gradients.get(leaf)
                gradients[leaf] = part if before is None or part is None else before + part
        total = value.detach() if total is None else total + value.detach()
        del value
    used = {leaf: part for leaf, part in gradients.items() if part is not None}
    if used:
        total = _WithGradients.apply(total, len(used), *used.values(), *used.keys())
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
    penalties, norms = zip(*results, strict=True)
    return torch.cat(penalties), torch.cat([part.detach() for part in norms])


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradient with respect to some leaves is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(*tensors[:count])
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        gradients = [grad.to(part.dtype) * part for part in ctx.saved_tensors]
        return None, None, *(None for _ in gradients), *gradients


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
