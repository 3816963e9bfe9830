"""The penalty of a large batch, slice by slice, in memory that grows with the slice.

Each slice is differentiated at once and its graph let go. What remains is the value and the
gradient of every leaf that it depends on; :class:`_WithGradients` ties the two together again, so
that the caller's ``backward()`` sees an ordinary scalar.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection
from typing import Any, Protocol, cast

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from .._torch_internals import has_hooks, map_tensors
from ..ops._layout import spread_like
from ..second_order._graph import leaves_of
from .engines import Engines
from .recomputing import Recomputing
from .seen import Seen
from .snapshot import Snapshot, snapshot_and_call

#: A part of the batch: a slice, or the indices of a random part.
Rows = slice | Tensor

#: What a critic takes besides its input: by position, and by name.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def slices_of(batch: int, chunk_size: int) -> list[slice]:
    """The batch cut into pieces of ``chunk_size`` samples; the last may be shorter."""
    starts = range(0, batch, chunk_size)
    return [slice(start, min(start + chunk_size, batch)) for start in starts]


def part_of(tensor: Tensor, rows: Rows) -> Tensor:
    """Some rows; the tensor itself if a slice is all of it."""
    if isinstance(rows, slice) and rows.stop - rows.start == tensor.shape[0]:
        return tensor
    return tensor[rows if isinstance(rows, slice) else spread_like(rows, tensor)]


def slice_arguments(
    arguments: Arguments, rows: Rows, batch: int, shared: Collection[int | str] = ()
) -> Arguments:
    """Every tensor in ``arguments`` with one row for each sample, cut to some rows.

    Args:
        arguments: of the critic.
        rows: which.
        batch: how many samples there are.
        shared: the positions and names of arguments that are left whole.
    """

    def cut(tensor: Tensor) -> Tensor:
        return part_of(tensor, rows) if tensor.dim() > 0 and len(tensor) == batch else tensor

    def cut_unless_shared(where: int | str, argument: Any) -> Any:
        return argument if where in shared else map_tensors(cut, argument)

    args, kwargs = arguments
    return (
        tuple(cut_unless_shared(*each) for each in enumerate(args)),
        {name: cut_unless_shared(name, argument) for name, argument in kwargs.items()},
    )


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


#: The penalty of a slice, its norms, and its points.
Evaluated = tuple[Tensor, Tensor, Tensor]


class Evaluate(Protocol):
    """Returns the penalty of a slice, a scalar or ``[b]``, its norms, ``[b]``, and its points."""

    def __call__(
        self, piece: slice, *, again: bool = False, arguments: Arguments = ...
    ) -> Evaluated:
        """With ``again``, in the backward pass, for the second time; with ``arguments`` for the
        critic, others than those of the whole batch that are given."""
        ...


#: The critics that were called with slices of a batch.
_sliced = Seen()


def in_slices(
    pieces: list[slice],
    evaluate: Evaluate,
    given: Arguments,
    together: bool,
    critic: Callable[..., Any],
    module: nn.Module | None,
    sample: Tensor,
    engines: Engines,
) -> tuple[Tensor, Tensor]:
    """The penalty of a batch, slice by slice.

    Args:
        pieces: the slices.
        evaluate: of the penalties, scalars if ``together``.
        given: the critic's arguments for the whole batch.
        together: whether the sum of the penalties is wanted, or all of them, ``[B]``.
        critic: what is called.
        module: the critic, if it is known. Every slice begins with the same state of it.
        sample: for its device.
        engines: the wrappers in the critic.

    Returns:
        The penalty, and the norms, ``[B]``, without a graph.
    """
    results = None
    if together:
        arguments, originals = cut_off(given)
        with_leaves = functools.partial(evaluate, arguments=arguments)
        results = summed(pieces, with_leaves, originals, module, sample, engines)
    if results is None:
        engines.check_recomputing()
    if not together and torch.is_grad_enabled() and not _sliced.has(critic, module):
        # At its first call, a critic may be built, and is looked at: not in a checkpoint, in which
        # everything happens a second time.
        begin, _ = snapshot_and_call(module, sample, lambda _: evaluate(pieces[0]))
        begin.restore()
    _sliced.add(critic, module)
    penalties, norms = results or concatenated(pieces, evaluate, module, sample)
    return penalties.sum() if together else penalties, norms


def summed(
    pieces: list[slice],
    evaluate: Evaluate,
    originals: dict[Tensor, Tensor],
    module: nn.Module | None,
    sample: Tensor,
    engines: Engines,
) -> tuple[Tensor, Tensor] | None:
    """The sum of a penalty over slices, and all their norms.

    Args:
        pieces, evaluate, module, sample, engines: as for :func:`in_slices`; penalties are scalars.
        originals: whom leaves stand for, from :func:`cut_off`.

    Returns:
        The penalty, connected to every leaf that the slices depend on, and the norms, ``[B]``,
        without a graph. The penalty can be differentiated once. None, and nothing has happened, if
        one of the leaves has a hook, which wants to see the whole gradient, once.
    """
    total: Tensor | None = None
    norms: list[Tensor] = []
    gradients: dict[Tensor, Tensor] = {}
    begin, first = snapshot_and_call(module, sample, lambda _: evaluate(pieces[0]))
    results = [first]
    del first  # or its graph would live on
    for piece in pieces:
        if not results:
            begin.restore(randomness=False)
            results.append(evaluate(piece))
        value, piece_norms, points = results.pop()
        norms.append(piece_norms.detach())
        # The points are made for the slice: nobody wants their gradient.
        leaves = [leaf for leaf in leaves_of(value) if leaf is not points]
        if any(has_hooks(leaf) for leaf in leaves):
            begin.restore()
            return None
        if leaves:
            # What the critic's weights were made from is common to the slices: it must survive.
            parts = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
            for leaf, part in zip(leaves, parts, strict=True):
                if part is not None:
                    gradients[leaf] = gradients[leaf] + part if leaf in gradients else part
        total = value.detach() if total is None else total + value.detach()
        del value, piece_norms, points  # or this graph would live on beside the next one
    if gradients:
        owners = [originals.get(leaf, leaf) for leaf in gradients]
        # After the owners, so that they have their gradients when the hooks are set off.
        total = _WithGradients.apply(
            total, len(owners), *gradients.values(), *owners, *engines.ends
        )
    return cast(Tensor, total), torch.cat(norms)


def concatenated(
    pieces: list[slice], evaluate: Evaluate, module: nn.Module | None, sample: Tensor
) -> tuple[Tensor, Tensor]:
    """The penalties of all samples, slice by slice, ``[B]``, and the norms, without a graph.

    Which gradient is wanted is known only in the backward pass, so each slice is computed again
    there, with the same random numbers and from the same state of the critic.

    Args:
        pieces, evaluate, module, sample: as for :func:`in_slices`. Where the penalties are scalars,
            there is one for each slice.
    """

    def checkpointed(piece: slice, begin: Snapshot) -> Evaluated:
        if not torch.is_grad_enabled():
            return evaluate(piece)
        recomputing = Recomputing(begin)
        return torch.utils.checkpoint.checkpoint(
            lambda: evaluate(piece, again=recomputing.active),
            use_reentrant=False,
            preserve_rng_state=False,  # the snapshot has more of them
            context_fn=lambda: (contextlib.nullcontext(), recomputing),
        )

    begin, first = snapshot_and_call(module, sample, lambda begin: checkpointed(pieces[0], begin))
    results = [first]
    for piece in pieces[1:]:
        begin.restore(randomness=False)
        results.append(checkpointed(piece, begin))
    penalties, norms, _ = zip(*results, strict=True)
    penalties = [penalty.reshape(-1) for penalty in penalties]
    return torch.cat(penalties), torch.cat([part.detach() for part in norms])


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradient with respect to some tensors is known already.

    Args:
        value: the scalar.
        count: of the gradients.
        tensors: the gradients, their owners, and further ends, which get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors[:count])
        ctx.owners, ctx.ends = tensors[count : 2 * count], len(tensors) - 2 * count
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gradients = [grad.to(part.device, part.dtype) * part for part in ctx.saved_tensors]
        if torch.is_grad_enabled():
            pairs = zip(gradients, ctx.owners, strict=True)
            gradients = [Once.apply(part, owner, _WHY_ONCE) for part, owner in pairs]
        return None, None, *(None for _ in gradients), *gradients, *[None] * ctx.ends


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
