"""The loss of a whole critic step: the scores' loss and the penalties, with shared passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast, overload

import torch
from torch import Tensor

from ._penalise import checks
from ._penalise.critic import check_critic
from ._penalise.joint import Samples, joined, joined_pair
from ._penalise.options import DoubleBackward, Options, Term
from ._penalise.points import interpolates
from ._penalise.step import Due, Step
from ._tracing import breaks_graphs
from .lazy import Turns
from .losses import (
    gan_critic_loss,
    hinge_critic_loss,
    relativistic_critic_loss,
    wasserstein_critic_loss,
)

Critic = Callable[..., Tensor]
#: A loss of ``(real_scores, fake_scores)``, a scalar.
Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "wasserstein": wasserstein_critic_loss,
    "gan": gan_critic_loss,
    "hinge": hinge_critic_loss,
    "relativistic": relativistic_critic_loss,
}


class Penalty(Turns):
    """A penalty of :func:`critic_loss` of which more is to be said than its weight.

    Args:
        weight: what the papers call λ (``gp``) or γ (``r1``, ``r2``, which halve it), at least 0.
        target: the gradient norm that costs nothing, at least 0; by default 1 for ``gp``, and 0 for
            ``r1`` and ``r2``.
        one_sided: penalise only norms above the target.
        power: the exponent of the distance from the target, at least 1.
        norm: 2, 1 or ``math.inf``, as for :func:`wgan_fast.fast_gradient_penalty`.
        every: take the penalty in every k-th step only, and ``k`` times as much of it there, as
            :class:`wgan_fast.Lazy` does. Make the ``Penalty`` once, outside of the loop: it counts
            the calls of :func:`critic_loss` that it is given to. Given as both ``r1`` and ``r2`` it
            takes both in the same steps. Each critic wants one of its own: with two critics trained
            in turn and an even ``k``, a common one would never be due for the second.

    Attributes:
        step: how many steps there have been, without those that raised an error;
            :meth:`state_dict` and :meth:`load_state_dict` save it and bring it back.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if it has a value that it must not have.

    Source: arXiv 1912.04958, section 3.1, for ``every``.

    Example:
        >>> critic = torch.nn.Linear(2, 1)
        >>> real, fake = torch.randn(2, 8, 2)
        >>> r1 = Penalty(10.0, every=16)
        >>> for step in range(32):
        ...     critic_loss(critic, real, fake, loss="gan", r1=r1).backward()
        >>> r1.step
        32
    """

    _watched_by_captured = ("every", "weight", "target", "one_sided", "power", "norm")

    def __init__(
        self,
        weight: float,
        *,
        target: float | None = None,
        one_sided: bool = False,
        power: float = 2.0,
        norm: float = 2,
        every: int = 1,
    ) -> None:
        super().__init__(every)
        self.weight = checks.check_number(weight, "weight")
        if target is not None:
            target = checks.check_number(target, "target")
        power = Term(0.0, one_sided, power).power
        checks.check_norm(norm, "auto")
        self.target, self.one_sided, self.power, self.norm = target, one_sided, power, norm

    def __repr__(self) -> str:
        return f"Penalty({self.weight}, every={self.every})"


class CriticLossParts(NamedTuple):
    """What :func:`critic_loss` is made of, detached, to be logged.

    Attributes:
        real_scores, fake_scores: as the critic returned them.
        adversarial: the loss of the scores, a scalar.
        gp, r1, r2: the weighed penalties, scalars; None where there is none in this step.
        gp_norms, r1_norms, r2_norms: each sample's gradient norm, ``[B]``, likewise.
        ways: how the scores of "real" and "fake" were differentiated, for those that share their
            passes with a penalty: "shared backward", or "shared forward: " and why.
    """

    real_scores: Tensor
    fake_scores: Tensor
    adversarial: Tensor
    gp: Tensor | None
    r1: Tensor | None
    r2: Tensor | None
    gp_norms: Tensor | None
    r1_norms: Tensor | None
    r2_norms: Tensor | None
    ways: dict[str, str]


@overload
def critic_loss(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    loss: str | Loss = ...,
    gp: float | Penalty | None = ...,
    r1: float | Penalty | None = ...,
    r2: float | Penalty | None = ...,
    epsilon: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    critic_args: tuple[Any, ...] = ...,
    critic_kwargs: Mapping[str, Any] | None = ...,
    module: torch.nn.Module | None = ...,
    first_sample: int | None = ...,
    backend: str = ...,
    double_backward: str = ...,
    return_parts: Literal[False] = ...,
) -> Tensor: ...


@overload
def critic_loss(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    loss: str | Loss = ...,
    gp: float | Penalty | None = ...,
    r1: float | Penalty | None = ...,
    r2: float | Penalty | None = ...,
    epsilon: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    critic_args: tuple[Any, ...] = ...,
    critic_kwargs: Mapping[str, Any] | None = ...,
    module: torch.nn.Module | None = ...,
    first_sample: int | None = ...,
    backend: str = ...,
    double_backward: str = ...,
    return_parts: Literal[True],
) -> tuple[Tensor, CriticLossParts]: ...


@breaks_graphs
def critic_loss(
    critic: Critic,
    real: Samples,
    fake: Samples,
    *,
    loss: str | Loss = "wasserstein",
    gp: float | Penalty | None = None,
    r1: float | Penalty | None = None,
    r2: float | Penalty | None = None,
    epsilon: Tensor | None = None,
    generator: torch.Generator | None = None,
    critic_args: tuple[Any, ...] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    module: torch.nn.Module | None = None,
    first_sample: int | None = None,
    backend: str = "auto",
    double_backward: str = "pruned",
    return_parts: bool = False,
) -> Tensor | tuple[Tensor, CriticLossParts]:
    r"""The loss of a whole critic step: of the scores, and of the gradient penalties beside it.

    .. math:: L\left(D(x), D(\tilde x)\right)
              + \lambda \, \frac1B \sum_b \left( \| \nabla D(\hat x_b) \|_2 - 1 \right)^2
              + \frac{\gamma_1}{2B} \sum_b \| \nabla D(x_b) \|_2^2
              + \frac{\gamma_2}{2B} \sum_b \| \nabla D(\tilde x_b) \|_2^2

    It is what a loop computes that calls the critic on real and on generated samples and adds
    penalties. Those on the samples themselves (R1, R2) take the scores that the loss takes, too:
    the critic is called once on ``real``, then once on ``fake``, then, with ``gp``, once on
    interpolates. In forward passes of the critic, for forward and backward:

    ============================  =============  ==========  =====
    critic                        WGAN-GP        R1          R1+R2
    ============================  =============  ==========  =====
    linear piece by piece         10             7           8
    any other                     12             9           12
    the usual code                12             9           12
    ============================  =============  ==========  =====

    A critic that is linear piece by piece (LeakyReLU, no normalisation) is recognised, and proved
    to be one in each call: its scores are then computed from its gradients, and the loss needs no
    backward pass of its own. Otherwise the forward pass is shared, as everybody does.

    Args:
        critic: maps ``[B, *]`` to scores, such as ``[B]``. A module or any function.
        real: real samples :math:`x`, ``[B, *]``, as for :func:`wgan_fast.fast_gradient_penalty`.
            Detached: the loss reaches the critic's parameters and its arguments.
        fake: generated samples :math:`\tilde x`, ``[B, *]``. Detached: this is the critic's step.
            Without ``gp`` there may be more or fewer of them, unless the loss compares them.
        loss: "wasserstein", "gan", "hinge" or "relativistic", which are
            :func:`wgan_fast.wasserstein_critic_loss` and so on; or a function of ``(real_scores,
            fake_scores)`` that returns a scalar.
        gp: the weight :math:`\lambda` of WGAN-GP's penalty on interpolates, at least 0, or a
            :class:`Penalty`; None, or a weight of 0: there is none.
        r1: the weight :math:`\gamma_1` of R1, on real samples, likewise.
        r2: the weight :math:`\gamma_2` of R2, on generated samples, likewise.
        epsilon, generator: of the interpolates, as for :func:`wgan_fast.fast_gradient_penalty`.
        critic_args: positional arguments for the critic after its input, in all of its calls.
        critic_kwargs: keyword arguments for the critic, likewise.
        module: the module whose parameters the critic uses, where that cannot be seen, as for
            :func:`wgan_fast.fast_gradient_penalty`.
        first_sample: the index of this process's first sample in the global batch, as for
            :func:`wgan_fast.fast_gradient_penalty`.
        backend: of the operators, as for :func:`wgan_fast.fast_gradient_penalty`.
        double_backward: "pruned", or "plain" for PyTorch's own with nothing cut or replaced. A
            critic that has no double backward takes :func:`wgan_fast.r1_penalty` and so on, with
            ``double_backward="finite_difference"``, beside a loss of its own scores.
        return_parts: also return what the loss is made of, to be logged.

    Returns:
        The loss, a scalar; or with ``return_parts`` ``(loss, parts)``, :class:`CriticLossParts`.

    Raises:
        TypeError: if an argument, or what the critic or the loss returns, has the wrong type.
        ValueError: if shapes, devices or values do not fit, or the loss is unknown or no scalar.
        RuntimeError: as :func:`wgan_fast.fast_gradient_penalty`.

    Gradients: with respect to everything that the scores depend on, except real and fake; equal to
        those of the usual code up to rounding. To the first order; with "plain" to any.

    Numerics: the values of loss and penalties are those of the usual code. That a critic is linear
        piece by piece is read off its graph; that its scores are what its gradients come to is
        proved to the rounding of its dtype, in float32 and float64. In half precision and under
        autocast, the forward pass is shared.

    Source: arXiv 1704.00028 (WGAN-GP); arXiv 1801.04406 (R1, R2); arXiv 2501.05441 (both, with the
        relativistic loss).

    Example:
        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.LeakyReLU(0.2), torch.nn.Linear(64, 1)
        ... )
        >>> real, fake = torch.randn(2, 256, 2)
        >>> critic_loss(critic, real, fake, gp=10.0).backward()
        >>> loss, parts = critic_loss(
        ...     critic, real, fake, loss="relativistic", r1=1.0, r2=1.0, return_parts=True
        ... )
        >>> parts.r1_norms.shape
        torch.Size([256])
    """
    loss_of = _loss_of(loss)
    checks.check_choice(double_backward, "double_backward", ("pruned", "plain"))
    checks.check_bool(return_parts, "return_parts")
    options = Options(
        critic_args=critic_args,
        critic_kwargs=critic_kwargs,
        module=module,
        generator=generator,
        first_sample=first_sample,
        backend=backend,
        double_backward=cast(DoubleBackward, double_backward),
        return_norms=True,
    )
    check_critic(critic)
    checks.check_inference_mode()
    if epsilon is not None and gp is None:
        raise ValueError("epsilon must be None without gp: there is nothing to interpolate")
    dues = {"gp": _due(gp, "gp"), "r1": _due(r1, "r1"), "r2": _due(r2, "r2")}
    step = Step(options, _BY_DIFFERENCES)
    if dues["gp"] is None:
        critic_of_real, real = joined(critic, real, "real")
        critic_of_fake, fake = joined(critic, fake, "fake")
    else:
        critic, real, fake = joined_pair(critic, real, fake)
        critic_of_real = critic_of_fake = critic
    real_scores = step.scores(critic_of_real, real, "real", "r1", dues["r1"])
    fake_scores = step.scores(critic_of_fake, fake, "fake", "r2", dues["r2"])
    if dues["gp"] is not None:
        points = interpolates(real, fake, epsilon, options)
        step.penalise(critic, points, real.shape[0], dues["gp"])
    adversarial = loss_of(real_scores, fake_scores)
    _check_scalar(adversarial)
    total = sum(step.penalties.values(), adversarial)
    for penalty in {gp, r1, r2}:  # one that is given twice has its turn for both
        if isinstance(penalty, Penalty):
            penalty.step += 1
    if not return_parts:
        return total
    values = {name: value.detach() for name, value in step.penalties.items()}
    return total, CriticLossParts(
        real_scores.detach(),
        fake_scores.detach(),
        adversarial.detach(),
        *(values.get(name) for name in dues),
        *(step.norms.get(name) for name in dues),
        ways=step.ways,
    )


#: What errors suggest for critics that cannot be differentiated twice.
_BY_DIFFERENCES = (
    'fast_gradient_penalty or r1_penalty(..., double_backward="finite_difference"), beside a loss '
    "of scores of its own"
)

#: What a penalty is aimed at unless its settings say otherwise.
_TARGETS = {"gp": 1.0, "r1": 0.0, "r2": 0.0}


def _due(penalty: Any, name: str) -> Due | None:
    """The penalty that an argument asks for in this step, if there is one."""
    target = _TARGETS[name]
    if penalty is None:
        return None
    if not isinstance(penalty, Penalty):
        due = Due(checks.check_number(penalty, name), Term(target))
    elif penalty.is_turn():
        target = target if penalty.target is None else penalty.target
        term = Term(target, penalty.one_sided, penalty.power)
        due = Due(penalty.weight * penalty.every, term, penalty.norm)
    else:
        return None
    return due if due.weight > 0 else None


def _loss_of(loss: Any) -> Loss:
    """The function of an argument ``loss``."""
    if callable(loss):
        return cast(Loss, loss)
    checks.check_choice(loss, "loss", tuple(LOSSES))
    return LOSSES[loss]


def _check_scalar(value: Any) -> None:
    """What a loss returned must be a scalar."""
    if not isinstance(value, Tensor):
        raise TypeError(f"loss must return a tensor, but it returned {checks.describe(value)}")
    if value.dim() > 0:
        raise ValueError(
            f"loss must return a scalar, but it returned {checks.describe(value)}; take its mean"
        )
