"""The family of the gradient penalty: each with its points, its term and its weight.

WGAN-LP, the zero-centred penalty on interpolates and those of Banach WGAN are settings of
:func:`wgan_fast.fast_gradient_penalty`; docs/variants.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import torch  # noqa: F401 - the examples use it
from torch import Tensor
from typing_extensions import Unpack

from ._penalise import checks, draws, penalise
from ._penalise.joint import Samples, joined, joined_pair
from ._penalise.options import Keywords, KeywordsOfMaximum, Shared, Term, options_of
from ._penalise.points import interpolates, samples_as_points
from ._tracing import breaks_graphs

Critic = Callable[..., Tensor]
#: The penalty, or with ``return_norms`` the penalty and the norms.
Result = Tensor | tuple[Tensor, Tensor]


@overload
def r1_penalty(
    critic: Critic,
    real: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[Keywords],
) -> Tensor: ...


@overload
def r1_penalty(
    critic: Critic,
    real: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[True],
    **shared: Unpack[Keywords],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def r1_penalty(
    critic: Critic, real: Samples, *, gamma: float = 10.0, **shared: Unpack[Shared]
) -> Result:
    r"""R1: the squared gradient norm on real samples.

    .. math:: \frac\gamma2 \, \frac1B \sum_b \left\| \nabla_{x_b} D(x_b) \right\|_2^2

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``; every entry counts.
        real: real samples, ``[B, *]`` or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        gamma: the weight, at least 0.
        shared: the keywords that all penalties share, from ``generator`` to ``return_norms``: see
            :func:`wgan_fast.fast_gradient_penalty`.

    Returns, Raises, Gradients and Numerics as for :func:`wgan_fast.fast_gradient_penalty`.

    Source: Mescheder et al., "Which Training Methods for GANs do actually Converge?",
    arXiv 1801.04406, equation 9. StyleGAN2 takes it every 16 steps: :class:`wgan_fast.Lazy`.

    Example:
        >>> critic, real = torch.nn.Linear(2, 1, bias=False), torch.randn(8, 2)
        >>> _ = critic.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> r1_penalty(critic, real).item()
        125.0
    """
    return _on_samples(critic, real, "real", gamma, shared)


@overload
def r2_penalty(
    critic: Critic,
    fake: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[Keywords],
) -> Tensor: ...


@overload
def r2_penalty(
    critic: Critic,
    fake: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[True],
    **shared: Unpack[Keywords],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def r2_penalty(
    critic: Critic, fake: Samples, *, gamma: float = 10.0, **shared: Unpack[Shared]
) -> Result:
    r"""R2: the squared gradient norm on generated samples.

    .. math:: \frac\gamma2 \, \frac1B \sum_b \left\| \nabla_{\tilde x_b} D(\tilde x_b) \right\|_2^2

    Args, Returns, Raises, Gradients, Numerics and Source as for :func:`r1_penalty`, with ``fake``
    for the generated samples, which are detached: the penalty does not reach the generator.

    Example:
        >>> critic, fake = torch.nn.Linear(2, 1, bias=False), torch.randn(8, 2)
        >>> _ = critic.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> r2_penalty(critic, fake, gamma=2.0).item()
        25.0
    """
    return _on_samples(critic, fake, "fake", gamma, shared)


def _on_samples(
    critic: Critic, samples: Samples, name: str, gamma: float, shared: Shared
) -> Result:
    weight = checks.check_number(gamma, "gamma") / 2
    options = options_of(shared)
    critic, tensor = joined(critic, samples, name)
    return penalise(
        critic, samples_as_points(tensor), tensor.shape[0], weight, Term(target=0.0), options
    )


@overload
def dragan_penalty(
    critic: Critic,
    real: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[Keywords],
) -> Tensor: ...


@overload
def dragan_penalty(
    critic: Critic,
    real: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    return_norms: Literal[True],
    **shared: Unpack[Keywords],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def dragan_penalty(
    critic: Critic,
    real: Samples,
    *,
    lambda_gp: float = 10.0,
    target: float = 1.0,
    **shared: Unpack[Shared],
) -> Result:
    r"""DRAGAN: the penalty of WGAN-GP in the surroundings of the real samples.

    .. math:: \lambda \, \frac1B \sum_b \left( \left\| \nabla D(\hat x_b) \right\|_2 - target
              \right)^2, \qquad \hat x_b = x_b + \tfrac12 \operatorname{std}(x) \, u_b,
              \quad u_b \sim U(0, 1)

    with one number ``std(x)`` for the batch, and a number of its own in ``u`` for each entry. Where
    samples are several tensors, each of these has its own ``std``.

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``; every entry counts.
        real: real samples :math:`x`, ``[B, *]`` or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        lambda_gp: the weight :math:`\lambda`, at least 0.
        target: the gradient norm that costs nothing, at least 0; the paper's k.
        shared: the keywords that all penalties share: see :func:`wgan_fast.fast_gradient_penalty`.
            :math:`u` is ``torch.rand(real.shape, generator=generator)``, drawn for the whole batch
            at once, one tensor after the other: slicing does not change it. With ``first_sample``
            it is the same from any number of processes, in ten times the time; ``std(x)`` is that
            of this process's batch.

    Returns, Raises, Gradients and Numerics as for :func:`wgan_fast.fast_gradient_penalty`.

    Source: Kodali et al., "On Convergence and Stability of GANs", arXiv 1705.07215;
    the perturbation is that of the authors' code.

    Example:
        >>> critic, real = torch.nn.Linear(2, 1), torch.randn(8, 2)
        >>> dragan_penalty(critic, real).backward()
    """
    lambda_gp = checks.check_number(lambda_gp, "lambda_gp")
    term = Term(target)
    options = options_of(shared)

    def perturbed(tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        uniform = draws.draw_uniform(tensor, options.generator, options.first_sample)
        return tensor + 0.5 * tensor.std(correction=0) * uniform

    critic, points = joined(critic, real, "real", perturbed)
    return penalise(critic, samples_as_points(points), points.shape[0], lambda_gp, term, options)


@overload
def wgan_div_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    k: float = ...,
    p: float = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[Keywords],
) -> Tensor: ...


@overload
def wgan_div_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    k: float = ...,
    p: float = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[True],
    **shared: Unpack[Keywords],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def wgan_div_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    k: float = 2.0,
    p: float = 6.0,
    epsilon: Tensor | None = None,
    **shared: Unpack[Shared],
) -> Result:
    r"""WGAN-div: a power of the gradient norm, without a target.

    .. math:: k \, \frac1B \sum_b \left\| \nabla_{\hat x_b} D(\hat x_b) \right\|_2^p, \qquad
              \hat x_b = \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``; every entry counts.
        real: real samples :math:`x`, ``[B, *]`` or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        fake: generated samples :math:`\tilde x`, which fit them: the same shape, dtype and device.
            Detached.
        k: the weight, at least 0.
        p: the power, at least 1.
        epsilon: the mixing factors, ``[B]`` in [0, 1]; drawn by default.
        shared: the keywords that all penalties share: see :func:`wgan_fast.fast_gradient_penalty`.

    Returns, Raises, Gradients and Numerics as for :func:`wgan_fast.fast_gradient_penalty`.

    Source: Wu et al., "Wasserstein Divergence for GANs", arXiv 1712.01026.

    Example:
        >>> critic = torch.nn.Linear(2, 1, bias=False)
        >>> _ = critic.weight.data.copy_(torch.tensor([[1.0, 1.0]]))
        >>> real, fake = torch.randn(2, 8, 2)
        >>> round(wgan_div_penalty(critic, real, fake).item(), 3)  # 2 * sqrt(2)**6
        16.0
    """
    k = checks.check_number(k, "k")
    p = checks.check_number(p, "p", least=1.0)
    options = options_of(shared)
    critic, real, fake = joined_pair(critic, real, fake)
    points = interpolates(real, fake, epsilon, options)
    return penalise(critic, points, real.shape[0], k, Term(target=0.0, power=p), options)


@overload
def max_gradient_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[KeywordsOfMaximum],
) -> Tensor: ...


@overload
def max_gradient_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[True],
    **shared: Unpack[KeywordsOfMaximum],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def max_gradient_penalty(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = 10.0,
    epsilon: Tensor | None = None,
    **shared: Unpack[Shared],
) -> Result:
    r"""MaxGP: the square of the largest gradient norm in the batch.

    .. math:: \lambda \, \max_b \left\| \nabla_{\hat x_b} D(\hat x_b) \right\|_2^2, \qquad
              \hat x_b = \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b

    The largest slope that the batch shows is a lower bound of the critic's Lipschitz constant.

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``; every entry counts.
        real: real samples :math:`x`, ``[B, *]`` or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        fake: generated samples :math:`\tilde x`, which fit them: the same shape, dtype and device.
            Detached.
        lambda_gp: the weight :math:`\lambda`, at least 0.
        epsilon: the mixing factors, ``[B]`` in [0, 1]; drawn by default.
        shared: the keywords that all penalties share: see :func:`wgan_fast.fast_gradient_penalty`.
            There is no ``reduction``, and no ``subset``, whose maximum would be a smaller one. Each
            process takes the maximum of its own samples, with ``first_sample``, too.

    Returns, Raises and Numerics as for :func:`wgan_fast.fast_gradient_penalty`.

    Gradients: those of the sample with the largest norm; samples that tie share it evenly.

    Source: Zhou et al., "Lipschitz Generative Adversarial Nets", arXiv 1902.05687.

    Example:
        >>> critic = lambda x: (x**2).sum(1)  # the gradient is 2 x
        >>> real, fake = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.zeros(2, 2)
        >>> max_gradient_penalty(critic, real, fake, lambda_gp=1.0, epsilon=torch.ones(2)).item()
        36.0
    """
    lambda_gp = checks.check_number(lambda_gp, "lambda_gp")
    options = options_of(shared, reduction="max")
    critic, real, fake = joined_pair(critic, real, fake)
    points = interpolates(real, fake, epsilon, options)
    return penalise(critic, points, real.shape[0], lambda_gp, Term(target=0.0), options)
