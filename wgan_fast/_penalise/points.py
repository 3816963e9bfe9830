"""Where a penalty differentiates the critic: at interpolates, or at the samples themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .._torch_internals import transforms_active
from ..ops._layout import as_rows, rows_like
from ..ops.interpolate import mix_quickly
from ..ops.random_interpolate import RANDOM_INTERPOLATE
from . import checks, draws
from .chunks import part_of
from .options import Options

#: Makes the points of some rows of the batch, ``[b, *]``, detached.
Points = Callable[[Any], Tensor]


def interpolates(real: Tensor, fake: Tensor, epsilon: Tensor | None, options: Options) -> Points:
    """Makes the points between the real and fake samples of some rows; these fit each other.

    The mixing factors are those given, or drawn: by the kernel, from one seed, or where there is
    no kernel, all at once. Either way they do not depend on how the batch is sliced. With
    ``first_sample`` they are always drawn from one seed, and sample b gets the factor number
    ``first_sample + b``.
    """
    real, fake, backend = detached(real), detached(fake), options.backend
    first_sample = options.first_sample or 0
    if epsilon is not None:
        drawing = options.generator is not None and options.subset is not None
        factors = checks.check_epsilon(epsilon, real, None if drawing else options.generator)
    elif options.first_sample is None and (
        backend == "pytorch" or (backend == "auto" and not _has_kernels(real))
    ):
        drawn = draws.draw_factors(options.generator, real)
        real = as_rows(real)
        return lambda rows: mix_quickly(
            part_of(real, rows), part_of(fake, rows), part_of(drawn, rows)
        )
    else:
        seed = draws.draw_seed(options.generator, real)
        if options.subset is None:  # the rows are a slice; on the path of every call
            real = as_rows(real)
            fake = rows_like(real, fake)
            return lambda rows: RANDOM_INTERPOLATE(
                part_of(real, rows),
                part_of(fake, rows),
                seed,
                first_sample + rows.start,
                backend=backend,
            )
        factors = ops.drawn_epsilon(real, seed, first_sample)
    return lambda rows: ops.interpolate(
        part_of(real, rows), part_of(fake, rows), part_of(factors, rows), backend=backend
    )


def requiring_gradients(points: Tensor) -> Tensor:
    """The points, which have no graph, to be differentiated by."""
    if torch.compiler.is_dynamo_compiling():
        return points.requires_grad_()
    try:
        return points.requires_grad_()
    except RuntimeError as error:
        if not transforms_active():
            raise
        raise RuntimeError(
            "a penalty must not be called inside a transform of torch.func (grad, vmap, ...), "
            "which have gradients of their own: take torch.autograd.grad, or backward(), in place "
            "of torch.func.grad, and a batch in place of vmap"
        ) from error


def _has_kernels(samples: Tensor) -> bool:
    """Whether there are kernels to draw with; what Dynamo traces is plain PyTorch."""
    return not torch.compiler.is_dynamo_compiling() and ops.has_kernels(samples)


def detached(samples: Tensor) -> Tensor:
    """The samples without a graph; themselves if they have none."""
    return samples.detach() if samples.requires_grad else samples


def samples_as_points(samples: Tensor) -> Points:
    """The samples themselves as points."""
    return functools.partial(part_of, to_require_gradients(samples))


def to_require_gradients(samples: Tensor) -> Tensor:
    """The samples without a graph, and with no other flag than their own to require a gradient."""
    if torch.compiler.is_dynamo_compiling() or not samples.is_inference():
        return samples.detach()
    return samples.clone()
