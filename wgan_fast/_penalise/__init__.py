"""What is behind every penalty: points, per-sample gradients, a term of their norms, reduction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import checks, draws
from .batch_dependence import watched
from .chunks import Arguments, Evaluated, in_slices, slice_arguments, slices_of
from .cost import cost_of
from .critic import check_critic, input_gradients, module_of
from .double_backward_errors import BY_DIFFERENCES
from .engines import engines_of
from .finite_differences import penalty_by_differences
from .options import Options, Term
from .points import Points, requiring_gradients

_NOTHING = contextlib.nullcontext()


def penalise(
    critic: Callable[..., Tensor],
    points: Points,
    batch: int,
    weight: float,
    term: Term,
    options: Options,
    *,
    by_differences: str = BY_DIFFERENCES,
) -> Any:
    """The penalty of the critic's gradient norms at some points.

    Args:
        critic: maps ``[B, *]`` to scores, ``[B]`` or ``[B, *]``.
        points: where.
        batch: how many samples there are, ``B``.
        weight: the factor of the penalty.
        term: what a norm costs.
        options: the shared keywords.
        by_differences: how to do without a double backward, as errors suggest it.

    Returns:
        The penalty, or ``(penalty, norms)``, as the options say.
    """
    check_critic(critic)
    module = module_of(critic) if options.module is None else options.module
    checks.check_inference_mode()
    create_graph = torch.is_grad_enabled()
    engines = engines_of(critic, module, create_graph=create_graph)
    chosen, count = None, batch
    expected: float = batch  # which may be symbolic: no float(batch)
    if options.subset is not None:
        first_sample = options.first_sample
        chosen = draws.draw_subset(options.subset, batch, options.generator, first_sample)
        count = chosen.shape[0]
        # Several processes together come to what one would: none divides by a number of its own.
        expected = count if first_sample is None else options.subset * batch
    cost = cost_of(weight, batch, expected, term, options)

    differences, prune = options.finite_difference, options.double_backward == "pruned"
    given = (tuple(options.critic_args), dict(options.critic_kwargs or {}))
    shared = options.shared_arguments

    def at(x: Tensor, called: Callable[..., Tensor], arguments: Arguments) -> Evaluated:
        args, kwargs = arguments
        if create_graph and differences is not None:
            way = penalty_by_differences(
                called, x, args, kwargs, cost, differences, module, options.backend, engines
            )
            return *way, x
        with _NOTHING if create_graph else torch.enable_grad():
            gradients = input_gradients(
                called,
                x,
                args,
                kwargs,
                create_graph=create_graph,
                prune=prune,
                module=module,
                by_differences=by_differences,
                engines=engines,
            )
        return *cost(gradients), x

    def evaluate(piece: slice, *, again: bool = False, arguments: Arguments = given) -> Evaluated:
        rows = piece if chosen is None else chosen[piece]
        x = requiring_gradients(points(rows))
        if x.shape[0] < batch:
            arguments = slice_arguments(arguments, rows, batch, shared)
        if x.shape[0] == count:
            return at(x, critic, arguments)
        usual = contextlib.nullcontext(critic)
        own = engines.without_reducers(critic) if again else usual
        with own as to_call, watched(to_call, module, x) as called:
            return at(x, called, arguments)

    if options.chunk_size is None or options.chunk_size >= count:
        penalty, norms, _ = evaluate(slice(0, count))
    else:
        pieces = slices_of(count, options.chunk_size)
        together = options.reduction in ("mean", "sum")
        sample = points(slice(0, 1))
        penalty, norms = in_slices(
            pieces, evaluate, given, together, critic, module, sample, engines
        )
    if options.reduction == "max":
        penalty = penalty.amax()
    return (penalty, norms.detach()) if options.return_norms else penalty
