"""The losses of Wasserstein, standard, hinge and relativistic GANs, and the first WGAN's clipping.

They take scores, not samples: what a critic returned, in any shape, before any sigmoid. Each is the
mean over all entries, and is to be minimised.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._penalise import checks


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""What a Wasserstein critic minimises: minus its estimate of the distance.

    .. math:: \operatorname{mean} D(\tilde x) - \operatorname{mean} D(x)

    Args:
        real_scores: the critic's scores of real samples, any shape, floating, not empty.
        fake_scores: its scores of generated samples, of any shape of their own.

    Returns:
        A scalar.

    Raises:
        TypeError: if the scores are not floating tensors.
        ValueError: if there are none.

    Gradients: to any order.

    Source: Arjovsky et al., "Wasserstein GAN", arXiv 1701.07875, algorithm 1.

    Example:
        >>> wasserstein_critic_loss(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0]))
        tensor(-2.5000)
    """
    checks.check_scores(real_scores=real_scores, fake_scores=fake_scores)
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    r"""What the generator of a WGAN minimises.

    .. math:: -\operatorname{mean} D(\tilde x)

    Args, Returns, Raises, Gradients and Source as for :func:`wasserstein_critic_loss`.

    Example:
        >>> wasserstein_generator_loss(torch.tensor([1.0, 2.0]))
        tensor(-1.5000)
    """
    checks.check_scores(fake_scores=fake_scores)
    return -fake_scores.mean()


def gan_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""The loss of a standard GAN's critic (discriminator), for either generator loss.

    .. math:: -\operatorname{mean} \log \sigma(D(x)) -
              \operatorname{mean} \log (1 - \sigma(D(\tilde x)))

    Args:
        real_scores: the critic's scores of real samples, logits: no sigmoid has been applied. Any
            shape, floating, not empty.
        fake_scores: its scores of generated samples, likewise.

    Returns:
        A scalar.

    Raises:
        TypeError: if the scores are not floating tensors.
        ValueError: if there are none.

    Gradients: to any order.

    Numerics: sigmoid and logarithm are taken together, so that no score is too large.

    Source: Goodfellow et al., "Generative Adversarial Nets", arXiv 1406.2661, equation 1.

    Example:
        >>> gan_critic_loss(torch.tensor([0.0, 1000.0]), torch.tensor([0.0, -1000.0]))
        tensor(0.6931)
    """
    checks.check_scores(real_scores=real_scores, fake_scores=fake_scores)
    return -F.logsigmoid(real_scores).mean() - F.logsigmoid(-fake_scores).mean()


def minimax_generator_loss(fake_scores: Tensor) -> Tensor:
    r"""The generator's side of the standard GAN's game; flat where the critic is sure.

    .. math:: \operatorname{mean} \log (1 - \sigma(D(\tilde x)))

    Args, Returns, Raises, Gradients, Numerics and Source as for :func:`gan_critic_loss`.

    Example:
        >>> minimax_generator_loss(torch.tensor([0.0, -1000.0]))
        tensor(-0.3466)
    """
    checks.check_scores(fake_scores=fake_scores)
    return F.logsigmoid(-fake_scores).mean()


def non_saturating_generator_loss(fake_scores: Tensor) -> Tensor:
    r"""The generator loss that standard GANs are trained with; steep where the critic is sure.

    .. math:: -\operatorname{mean} \log \sigma(D(\tilde x))

    Args, Returns, Raises, Gradients and Numerics as for :func:`gan_critic_loss`.

    Source: arXiv 1406.2661, section 3.

    Example:
        >>> non_saturating_generator_loss(torch.tensor([0.0, -1000.0]))
        tensor(500.3466)
    """
    checks.check_scores(fake_scores=fake_scores)
    return -F.logsigmoid(fake_scores).mean()


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""The hinge loss of a critic: real scores below 1 and generated ones above -1 cost.

    .. math:: \operatorname{mean} \max(0, 1 - D(x)) + \operatorname{mean} \max(0, 1 + D(\tilde x))

    Args:
        real_scores: the critic's scores of real samples, any shape, floating, not empty.
        fake_scores: its scores of generated samples, of any shape of their own.

    Returns:
        A scalar.

    Raises:
        TypeError: if the scores are not floating tensors.
        ValueError: if there are none.

    Gradients: to any order; 0 for a score at or beyond its margin.

    Source: Lim and Ye, "Geometric GAN", arXiv 1705.02894.

    Example:
        >>> hinge_critic_loss(torch.tensor([3.0, 0.5]), torch.tensor([-3.0, 1.0]))
        tensor(1.2500)
    """
    checks.check_scores(real_scores=real_scores, fake_scores=fake_scores)
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def hinge_generator_loss(fake_scores: Tensor) -> Tensor:
    r"""The generator's side of the hinge loss, where no score is high enough.

    .. math:: -\operatorname{mean} D(\tilde x)

    Args, Returns, Raises and Source as for :func:`hinge_critic_loss`.

    Gradients: to any order.

    Example:
        >>> hinge_generator_loss(torch.tensor([1.0, 2.0]))
        tensor(-1.5000)
    """
    checks.check_scores(fake_scores=fake_scores)
    return -fake_scores.mean()


def relativistic_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""The loss of a critic that compares pairs: each real sample must score above its fake one.

    .. math:: \operatorname{mean}_b \log \left( 1 + e^{-(D(x_b) - D(\tilde x_b))} \right)

    R3GAN adds :func:`wgan_fast.r1_penalty` and :func:`wgan_fast.r2_penalty`.

    Args:
        real_scores: the critic's scores of real samples, logits: no sigmoid has been applied. Any
            shape, floating, not empty.
        fake_scores: its scores of generated samples, of the same shape: each entry is compared with
            the one in its place.

    Returns:
        A scalar.

    Raises:
        TypeError: if the scores are not floating tensors.
        ValueError: if there are none, or their shapes differ.

    Gradients: to any order.

    Numerics: exponential and logarithm are taken together, so that no score is too large.

    Source: Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from
    standard GAN", arXiv 1807.00734; Huang et al., "The GAN is dead; long live the GAN!" (R3GAN),
    arXiv 2501.05441.

    Example:
        >>> relativistic_critic_loss(torch.tensor([5.0, 1000.0]), torch.tensor([5.0, -1000.0]))
        tensor(0.3466)
    """
    _check_pairs(real_scores, fake_scores)
    return -F.logsigmoid(real_scores - fake_scores).mean()


def relativistic_generator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""The generator's side: each generated sample must score above its real one.

    .. math:: \operatorname{mean}_b \log \left( 1 + e^{-(D(\tilde x_b) - D(x_b))} \right)

    Args, Returns, Raises, Gradients, Numerics and Source as for :func:`relativistic_critic_loss`.
    It takes the real scores, too, anew from the critic as it is now; they need no graph.

    Example:
        >>> relativistic_generator_loss(torch.tensor([5.0, 1000.0]), torch.tensor([5.0, -1000.0]))
        tensor(1000.3466)
    """
    _check_pairs(real_scores, fake_scores)
    return -F.logsigmoid(fake_scores - real_scores).mean()


@torch.no_grad()
def clip_weights_(critic: torch.nn.Module, c: float = 0.01) -> None:
    r"""Clips every parameter of the critic to :math:`[-c, c]`, in place.

    It is called after each step of the critic's optimiser: RMSprop with learning rate 5e-5 in the
    paper. The gradient penalty is its successor, and the two are not combined.

    Args:
        critic: a module. Of a parametrised layer (weight or spectral normalisation) the parameters
            are clipped, not the weight that is made from them.
        c: the bound, above 0.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if ``c`` is not finite or not above 0.

    Source: Arjovsky et al., "Wasserstein GAN", arXiv 1701.07875, algorithm 1, line 7.

    Example:
        >>> critic = torch.nn.Linear(2, 1)
        >>> clip_weights_(critic, 0.01)
        >>> bool(critic.weight.abs().max() <= 0.01)
        True
    """
    if not isinstance(critic, torch.nn.Module):
        raise TypeError(f"critic must be a torch.nn.Module, but it is {checks.describe(critic)}")
    c = checks.check_number(c, "c")
    if c == 0:
        raise ValueError("c must be above 0, but it is 0: it would set every parameter to zero")
    for parameter in critic.parameters():
        parameter.clamp_(-c, c)


def _check_pairs(real_scores: Any, fake_scores: Any) -> None:
    checks.check_scores(real_scores=real_scores, fake_scores=fake_scores)
    if fake_scores.shape != real_scores.shape:
        raise ValueError(
            f"fake_scores must have the shape of real_scores, {list(real_scores.shape)}, but it is "
            f"{list(fake_scores.shape)}: each is compared with the real score in its place; take "
            "as many generated samples as real ones, and the scores as the critic returned them"
        )
