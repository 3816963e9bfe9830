"""What the critic's gradients look like: for watching a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._penalise import penalise
from ._penalise.joint import Samples, joined_pair
from ._penalise.options import Options, Term
from ._penalise.points import interpolates, samples_as_points
from ._tracing import always_breaks_graphs


class GradientNorms(NamedTuple):
    """The norm of each sample's gradient, ``[B]`` each, without a graph."""

    real: Tensor
    fake: Tensor
    interpolates: Tensor


@always_breaks_graphs
@torch.no_grad()
def gradient_norms(
    critic: Callable[..., Tensor],
    real: Samples,
    fake: Samples,
    *,
    norm: float = 2,
    epsilon: Tensor | None = None,
    generator: torch.Generator | None = None,
    first_sample: int | None = None,
    critic_args: tuple[Any, ...] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    module: torch.nn.Module | None = None,
    shared_arguments: tuple[int | str, ...] = (),
    chunk_size: int | None = None,
    backend: str = "auto",
) -> GradientNorms:
    r"""The critic's per-sample gradient norms on real samples, on fake ones, and between them.

    .. math:: \left\| \nabla_x D(x) \right\| \text{ at } x_b, \; \tilde x_b \text{ and }
              \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b

    A critic that the penalty has made 1-Lipschitz shows norms around 1 between the samples, and
    none that is much larger anywhere.

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``. It is called as it is:
            put it in evaluation mode to watch it without dropout.
        real: real samples, ``[B, *]`` or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`.
        fake: generated samples, which fit them: the same shape, dtype and device.
        norm, epsilon, generator, first_sample, chunk_size, backend: as for
            :func:`wgan_fast.fast_gradient_penalty`.
        critic_args, critic_kwargs, module, shared_arguments: likewise.

    Returns:
        The norms, :class:`GradientNorms` of three tensors ``[B]``, float64 for float64 samples and
        float32 for all others.

    Raises and Numerics as for :func:`wgan_fast.fast_gradient_penalty`. Warns, once for each critic,
    by name, of batch normalisation in training mode.

    Gradients: none.

    Example:
        >>> critic = lambda x: (x**2).sum(1) / 2  # the gradient is x
        >>> real, fake = torch.full((1, 4), 2.0), torch.zeros(1, 4)
        >>> gradient_norms(critic, real, fake, epsilon=torch.tensor([0.25]))
        GradientNorms(real=tensor([4.]), fake=tensor([0.]), interpolates=tensor([1.]))
    """
    options = Options(
        critic_args=critic_args,
        critic_kwargs=critic_kwargs,
        module=module,
        shared_arguments=shared_arguments,
        chunk_size=chunk_size,
        backend=backend,
        return_norms=True,
        norm=norm,
        generator=generator,
        first_sample=first_sample,
    )
    critic, real, fake = joined_pair(critic, real, fake)
    between = interpolates(real, fake, epsilon, options)
    batch = real.shape[0]
    norms = [
        penalise(critic, points, batch, 0.0, Term(), options)[1]
        for points in (samples_as_points(real), samples_as_points(fake), between)
    ]
    return GradientNorms(*norms)
