"""The one mechanism behind every penalty: points, per-sample gradient, term, reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import arguments, ops
from .critic import check_critic, input_gradients
from .slices import concatenated, part_of, slice_arguments, slices_of, summed


@dataclass(slots=True)
class Term:
    """What a gradient norm n costs: ``|n - target| ** power``, one-sided only above the target."""

    target: float = 1.0
    one_sided: bool = False
    power: float = 2.0

    def __post_init__(self) -> None:
        arguments.check_number(self.target, "target")
        arguments.check_bool(self.one_sided, "one_sided")
        arguments.check_number(self.power, "power", least=1.0)


@dataclass(slots=True)  # frozen would cost a microsecond a call
class Options:
    """The keywords that all penalties share; see :func:`wgan_fast.fast_gradient_penalty`."""

    critic_args: tuple[Any, ...] = ()
    critic_kwargs: Mapping[str, Any] | None = None
    reduction: str = "mean"
    chunk_size: int | None = None
    backend: str = "auto"
    return_norms: bool = False

    def __post_init__(self) -> None:
        arguments.check_choice(self.reduction, "reduction", ("mean", "sum", "none"))
        arguments.check_chunk_size(self.chunk_size)
        arguments.check_choice(self.backend, "backend", ("auto", "native", "reference"))
        arguments.check_bool(self.return_norms, "return_norms")
        if not isinstance(self.critic_args, tuple | list):
            raise TypeError(
                "critic_args must be a tuple of positional arguments, but it is "
                f"{arguments.describe(self.critic_args)}; write (labels,) for a single one"
            )
        if self.critic_kwargs is not None and not isinstance(self.critic_kwargs, Mapping):
            raise TypeError(
                "critic_kwargs must be a dict of keyword arguments, but it is "
                f"{arguments.describe(self.critic_kwargs)}"
            )


def penalise(
    critic: Callable[..., Tensor],
    points: Callable[[slice], Tensor],
    batch: int,
    weight: float,
    term: Term,
    options: Options,
) -> Any:
    """The penalty of the critic's gradient norms at some points.

    Args:
        critic: maps ``[B, *]`` to scores, ``[B]`` or ``[B, *]``.
        points: makes the points of a slice of the batch, ``[b, *]``, detached.
        batch: how many samples there are, ``B``.
        weight: the factor of the penalty.
        term: what a norm costs.
        options: the shared keywords.

    Returns:
        The penalty, or ``(penalty, norms)``, as the options say.
    """
    check_critic(critic)
    arguments.check_inference_mode()
    create_graph = torch.is_grad_enabled()
    scale = weight / batch if options.reduction == "mean" else weight

    def evaluate(piece: slice) -> tuple[Tensor, Tensor]:
        x = points(piece).requires_grad_()
        args, kwargs = options.critic_args, options.critic_kwargs or {}
        if x.shape[0] < batch:
            args, kwargs = slice_arguments((args, kwargs), piece, batch)
        with torch.enable_grad():
            gradients = input_gradients(critic, x, args, kwargs, create_graph)
        return ops.norm_penalty(
            gradients,
            target=term.target,
            one_sided=term.one_sided,
            power=term.power,
            scale=scale,
            reduce=options.reduction != "none",
            backend=options.backend,
        )

    pieces = slices_of(batch, options.chunk_size)
    if len(pieces) == 1:
        penalty, norms = evaluate(pieces[0])
    else:
        join = concatenated if options.reduction == "none" else summed
        penalty, norms = join(pieces, evaluate)
    return (penalty, norms.detach()) if options.return_norms else penalty


def interpolates(
    real: Tensor,
    fake: Tensor,
    epsilon: Tensor | None,
    generator: torch.Generator | None,
    backend: str,
) -> Callable[[slice], Tensor]:
    """Makes the points between the real and fake samples of a slice.

    The mixing factors are those given, or drawn from one seed, so that they do not depend on how
    the batch is sliced.
    """
    arguments.check_pair(real, fake)
    real, fake = real.detach(), fake.detach()
    if epsilon is None:
        seed = arguments.draw_seed(generator, real)
        return lambda piece: ops.random_interpolate(
            part_of(real, piece), part_of(fake, piece), seed, piece.start, backend=backend
        )
    factors = arguments.check_epsilon(epsilon, real, generator)
    return lambda piece: ops.interpolate(
        part_of(real, piece), part_of(fake, piece), part_of(factors, piece), backend=backend
    )
