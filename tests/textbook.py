"""The gradient penalty written down from the paper: no line of it is shared with the library.

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, algorithm 1;
one-sided: Petzka et al., arXiv 1709.08894.
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def textbook_gradient_penalty(
    critic,
    real,
    fake,
    *,
    epsilon,
    lambda_gp=10.0,
    target=1.0,
    one_sided=False,
    critic_args=(),
    critic_kwargs=None,
    reduction="mean",
    return_norms=False,
):
    """The penalty as everybody writes it; exact in float64.

    Args:
        critic: maps ``[B, *]`` to scores; every entry counts.
        real, fake: ``[B, *]``.
        epsilon: ``[B]``, the mixing factors. Always given: the textbook draws nothing.
        lambda_gp, target, one_sided, critic_args, critic_kwargs, reduction, return_norms: as in
            ``wgan_fast.fast_gradient_penalty``.
    """
    batch = real.shape[0]
    factor = epsilon.to(real.dtype).reshape([batch] + [1] * (real.dim() - 1))
    interpolates = (factor * real + (1 - factor) * fake).detach().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no double backward
        scores = critic(interpolates, *critic_args, **(critic_kwargs or {}))
    (gradients,) = torch.autograd.grad(
        outputs=scores,
        inputs=interpolates,
        grad_outputs=torch.ones_like(scores),
        create_graph=True,
        retain_graph=True,
    )
    # vector_norm, because the gradient of sqrt(sum of squares) is NaN where the norm is zero
    norms = torch.linalg.vector_norm(gradients.reshape(batch, -1), dim=1)
    distances = norms - target
    if one_sided:
        distances = torch.relu(distances)
    penalties = lambda_gp * distances**2
    reductions = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "none": torch.clone}
    penalty = reductions[reduction](penalties)
    return (penalty, norms.detach()) if return_norms else penalty
