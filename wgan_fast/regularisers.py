"""Regularisers that compare two scores of a sample, and need no gradient of the critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ._penalise import checks, draws
from ._penalise.critic import check_critic, check_scores, module_of
from ._penalise.joint import Samples, joined
from ._penalise.options import Options
from ._penalise.seen import Seen
from ._penalise.snapshot import snapshot_and_call
from ._tracing import always_breaks_graphs, can_look


def consistency_term(
    critic: Callable[..., Any],
    real: Samples,
    *,
    lambda_ct: float = 2.0,
    margin: float = 0.0,
    feature_weight: float = 0.1,
    distance: str = "squared",
    critic_args: tuple[Any, ...] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""The consistency term of CT-GAN: how far two passes with different dropout are apart.

    .. math:: \lambda \, \frac1B \sum_b \max\left(0, \; d(D(x'_b), D(x''_b))
              + 0.1 \, d(F(x'_b), F(x''_b)) - M \right)

    where :math:`x', x''` are two passes of the same real sample :math:`x` through a critic in
    training mode with dropout, and :math:`F` are its features, the layer before the score. It is
    added to a gradient penalty. In a critic without dropout both passes are the same, and it is 0.

    Args:
        critic: maps ``[B, *]`` to ``(scores, features)``, each ``[B]`` or ``[B, *]``, or to scores
            alone, which leaves the features out.
        real: real samples, ``[B, *]``, floating, or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        lambda_ct: the weight :math:`\lambda`, at least 0.
        margin: :math:`M`, what costs nothing, at least 0.
        feature_weight: the factor 0.1 of the features, at least 0.
        distance: "squared" is what the authors' code computes, the squared difference of the scores
            and the mean square over the features; "euclidean" is the metric that the paper names.
        critic_args: positional arguments for the critic after its input.
        critic_kwargs: keyword arguments for the critic.
        reduction: "mean" over the batch, "sum", "max", or "none" for each sample, ``[B]``.

    Returns:
        The term, a scalar (``[B]`` for "none").

    Raises:
        TypeError: if an argument, or what the critic returns, has the wrong type or dtype.
        ValueError: if shapes or values do not fit, or the scores do not depend on the input.

    Gradients: with respect to everything that the scores depend on, except real; to any order.
        Those of the euclidean distance are 0 where the two passes agree.

    Source: Wei et al., "Improving the Improved Training of Wasserstein GANs: A Consistency Term and
    Its Dual Effect", arXiv 1803.01541; :math:`\lambda = 2`, :math:`M = 0`.

    Example:
        >>> critic = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(),
        ...                              torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        >>> def scores_and_features(x):
        ...     features = critic[:-1](x)
        ...     return critic[-1](features), features
        >>> bool(consistency_term(scores_and_features, torch.randn(16, 2)) > 0)
        True
    """
    lambda_ct = checks.check_number(lambda_ct, "lambda_ct")
    margin = checks.check_number(margin, "margin")
    feature_weight = checks.check_number(feature_weight, "feature_weight")
    checks.check_choice(distance, "distance", ("squared", "euclidean"))
    options = Options(critic_args=critic_args, critic_kwargs=critic_kwargs, reduction=reduction)
    check_critic(critic)
    critic, real = joined(critic, real, "real")

    (scores, features), (other_scores, other_features) = (
        _scores_and_features(critic, real.detach(), options) for _ in range(2)
    )
    apart = (scores - other_scores).reshape(real.shape[0], -1)
    cost = apart.square().sum(1) if distance == "squared" else _length(apart)
    if features is not None and other_features is not None:
        apart = (features - other_features).reshape(real.shape[0], -1)
        cost = cost + feature_weight * (
            apart.square().mean(1) if distance == "squared" else _length(apart)
        )
    return lambda_ct * _reduced((cost - margin).clamp_min(0), reduction)


@always_breaks_graphs
def approximate_r1(
    critic: Callable[..., Tensor],
    real: Samples,
    *,
    lambda_r1: float = 100.0,
    sigma: float = 0.01,
    generator: torch.Generator | None = None,
    first_sample: int | None = None,
    critic_args: tuple[Any, ...] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    module: torch.nn.Module | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""R1 without a double backward: how much the score changes under a little noise.

    .. math:: \lambda \, \frac1B \sum_b \left( D(x_b) - D(x_b + \sigma n_b) \right)^2,
              \qquad n_b \sim N(0, 1)

    To first order its expectation is :math:`\lambda \sigma^2` times the mean of
    :math:`\|\nabla D(x_b)\|_2^2`, so that it stands for ``r1_penalty`` with
    :math:`\gamma = 2 \lambda \sigma^2`, 0.02 with the defaults. It is not normalised any further:
    this is the paper's form, with the paper's weights.

    Args:
        critic: maps ``[B, *]`` to scores, ``[B]`` or ``[B, *]``; the scores of a sample are summed.
        real: real samples, ``[B, *]``, floating, or several such tensors, as for
            :func:`wgan_fast.fast_gradient_penalty`. Detached.
        lambda_r1: the weight :math:`\lambda`, at least 0.
        sigma: the standard deviation of the noise, above 0; 0.01 for images, 0.1 for video.
        generator: where the noise comes from; by default the one that ``torch.manual_seed``
            governs. On the CPU or on the device of the samples.
        first_sample: the index of this process's first sample in the global batch, as for
            :func:`wgan_fast.fast_gradient_penalty`: the same noise from any number of processes.
        critic_args: positional arguments for the critic after its input.
        critic_kwargs: keyword arguments for the critic.
        module: the module whose state the critic uses, where that cannot be seen: where it is a
            lambda or a function. A module, its methods and ``functools.partial`` of these are
            known.
        reduction: "mean" over the batch, "sum", "max", or "none" for each sample, ``[B]``.

    Returns:
        The penalty, a scalar (``[B]`` for "none").

    Raises:
        TypeError: if an argument, or what the critic returns, has the wrong type or dtype.
        ValueError: if shapes, devices or values do not fit, or the scores do not depend on the
            input.
        RuntimeError: at the first call of a critic, if it gives the same samples other scores when
            it is called again.

    Gradients: with respect to everything that the scores depend on, except real; to any order.

    Numerics: both passes drop the same units, if any, and see the same state of the module, such as
        the estimates of a spectral normalisation. The difference of two scores that are nearly
        the same loses digits: in half precision, take a larger ``sigma``.

    Source: Lin et al., "Diffusion Adversarial Post-Training for One-Step Video Generation",
    arXiv 2501.08316.

    Example:
        >>> critic, real = torch.nn.Linear(2, 1), torch.randn(1000, 2)
        >>> close_to = critic.weight.square().sum() * 100 * 0.01**2
        >>> bool((approximate_r1(critic, real) / close_to - 1).abs() < 0.2)
        True
    """
    lambda_r1 = checks.check_number(lambda_r1, "lambda_r1")
    sigma = checks.check_number(sigma, "sigma")
    if sigma == 0:
        raise ValueError("sigma must be above 0, but it is 0: without noise nothing changes")
    options = Options(
        critic_args=critic_args,
        critic_kwargs=critic_kwargs,
        module=module,
        reduction=reduction,
        generator=generator,
        first_sample=first_sample,
    )
    check_critic(critic)
    critic, clean = joined(critic, real, "real")
    clean = clean.detach()
    noisy = clean + sigma * draws.draw_normal(clean, generator, first_sample)
    module = module_of(critic) if module is None else module

    def scores_of(samples: Tensor) -> Tensor:
        return _scores_and_features(critic, samples, options)[0].reshape(samples.shape[0], -1)

    begin, scores = snapshot_and_call(module, clean, lambda _: scores_of(clean))
    begin.restore()
    again = None
    if can_look(clean) and not _compared.has(critic, module):
        with torch.no_grad():
            again = scores_of(clean)
        begin.restore()
    change = scores - scores_of(noisy)
    if again is not None:
        _check_repeated(scores.detach(), again, change.detach())
        _compared.add(critic, module)
    return lambda_r1 * _reduced(change.sum(1).square(), reduction)


#: The critics of which it is known whether they give the same scores twice.
_compared = Seen()

#: How much two scores of the same sample may be apart: so many times the rounding of the scores,
#: and this share of the change that the noise makes. Kernels that add up in another order every
#: time stay far below the one, and what remains below the other hardly matters.
_ROUNDING, _SHARE = 10.0, 0.1


def _check_repeated(scores: Tensor, again: Tensor, change: Tensor) -> None:
    """Refuses a critic that does not repeat itself: that would pass for the effect of noise."""
    apart = (scores - again).abs().mean()
    rounding = torch.finfo(scores.dtype).eps * scores.abs().mean()
    allowed = _ROUNDING * rounding + _SHARE * change.abs().mean()
    if bool(apart > allowed):  # false for NaN
        raise RuntimeError(
            "critic must give the same samples the same scores when it is called again, but they "
            f"differ by {apart.item():.1g}, where the noise changes them by "
            f"{change.abs().mean().item():.1g}. It changes something from call to call, or draws "
            "random numbers, that are not seen: if its module is hidden in a lambda or a function, "
            "say module=...; if it is no module's state, hold it still meanwhile. r1_penalty needs "
            "one call alone"
        )


def _scores_and_features(
    critic: Callable[..., Any], samples: Tensor, options: Options
) -> tuple[Tensor, Tensor | None]:
    result = critic(samples, *options.critic_args, **(options.critic_kwargs or {}))
    parts: tuple[Any, ...] = result if isinstance(result, tuple) and len(result) == 2 else (result,)
    for part in parts:
        check_scores(part, samples)
    return parts[0], parts[1] if len(parts) == 2 else None


def _length(x: Tensor) -> Tensor:
    """The length of each row; its gradient at zero is zero."""
    return torch.linalg.vector_norm(x, dim=1)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return values
    return {"mean": values.mean, "sum": values.sum, "max": values.amax}[reduction]()
