"""The one mechanism behind every penalty: points, per-sample gradient, term, reduction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import arguments, ops
from .critic import check_critic, input_gradients, warn_of_batch_norm
from .finite_difference import penalty_by_differences
from .options import Options, Term
from .slices import concatenated, cut_off, part_of, slice_arguments, slices_of, summed

#: Makes the points of some rows of the batch, ``[b, *]``, detached.
Points = Callable[[Any], Tensor]


def penalise(
    critic: Callable[..., Tensor],
    points: Points,
    batch: int,
    weight: float,
    term: Term,
    options: Options,
) -> Any:
    """The penalty of the critic's gradient norms at some points.

    Args:
        critic: maps ``[B, *]`` to scores, ``[B]`` or ``[B, *]``.
        points: where.
        batch: how many samples there are, ``B``.
        weight: the factor of the penalty.
        term: what a norm costs.
        options: the shared keywords.

    Returns:
        The penalty, or ``(penalty, norms)``, as the options say.
    """
    check_critic(critic)
    warn_of_batch_norm(critic)
    arguments.check_inference_mode()
    create_graph = torch.is_grad_enabled()
    chosen, count = None, batch
    if options.subset is not None:
        chosen = arguments.draw_subset(options.subset, batch, options.generator)
        count = chosen.shape[0]
    cost = _cost(weight, batch, count, term, options)

    given = (tuple(options.critic_args), dict(options.critic_kwargs or {}))

    def evaluate(piece: slice) -> tuple[Tensor, Tensor, Tensor]:
        rows = piece if chosen is None else chosen[piece]
        x = points(rows).requires_grad_()
        args, kwargs = slice_arguments(given, rows, batch) if x.shape[0] < batch else given
        if create_graph and options.double_backward == "finite_difference":
            step = options.finite_difference_step
            return *penalty_by_differences(critic, x, args, kwargs, cost, step), x
        with torch.enable_grad():
            gradients = input_gradients(critic, x, args, kwargs, create_graph, options.second_order)
        return *cost(gradients), x

    pieces = slices_of(count, options.chunk_size)
    if len(pieces) == 1:
        penalty, norms, _ = evaluate(pieces[0])
    elif options.reduction in ("mean", "sum"):
        given, originals = cut_off(given)
        penalty, norms = summed(pieces, evaluate, originals)
    else:
        penalty, norms = concatenated(pieces, evaluate)
    if options.reduction == "max":
        penalty = penalty.amax()
    return (penalty, norms.detach()) if options.return_norms else penalty


def _cost(
    weight: float, batch: int, count: int, term: Term, options: Options
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """From input gradients to their penalty and norms, for ``count`` of ``batch`` samples."""
    reduction = options.reduction
    cost = functools.partial(
        ops.norm_penalty,
        target=term.target,
        one_sided=term.one_sided,
        power=term.power,
        scale={"mean": weight / count, "sum": weight * batch / count}.get(reduction, weight),
        reduce=reduction in ("mean", "sum"),
        backend=options.backend,
    )
    return cost if options.norm == 2 else functools.partial(cost, norm=options.norm)


def interpolates(real: Tensor, fake: Tensor, epsilon: Tensor | None, options: Options) -> Points:
    """Makes the points between the real and fake samples of some rows.

    The mixing factors are those given, or drawn from one seed, so that they do not depend on how
    the batch is sliced.
    """
    arguments.check_pair(real, fake)
    real, fake, backend = detached(real), detached(fake), options.backend
    if epsilon is not None:
        drawing = options.generator is not None and options.subset is not None
        factors = arguments.check_epsilon(epsilon, real, None if drawing else options.generator)
    else:
        seed = arguments.draw_seed(options.generator, real)
        if options.subset is None:  # the rows are a slice
            return lambda rows: ops.random_interpolate(
                part_of(real, rows), part_of(fake, rows), seed, rows.start, backend=backend
            )
        factors = ops.drawn_epsilon(real, seed)
    return lambda rows: ops.interpolate(
        part_of(real, rows), part_of(fake, rows), part_of(factors, rows), backend=backend
    )


def detached(samples: Tensor) -> Tensor:
    """The samples without a graph; themselves if they have none."""
    return samples.detach() if samples.requires_grad else samples


def own(samples: Tensor) -> Points:
    """The samples themselves as points."""
    points = samples.clone() if samples.is_inference() else samples.detach()
    return functools.partial(part_of, points)
