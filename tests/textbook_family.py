"""The other penalties, written down from their papers: no line of it is shared with the library.

Everything random is given: the mixing factors, the perturbation, the noise. Results are means over
the batch. Sources are named with each formula.
"""

import math

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def input_gradient(critic, points, critic_args=(), critic_kwargs=None):
    """``[B, N]``, the gradient of each sample's score, twice differentiable."""
    points = points.detach().clone().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no double backward
        scores = critic(points, *critic_args, **(critic_kwargs or {}))
    gradient = torch.autograd.grad(scores.sum(), points, create_graph=True)[0]
    return gradient.reshape(points.shape[0], -1)


def euclidean_norms(gradient):
    """``[B]``; ``vector_norm`` has the gradient 0 where the norm is 0, the square root has NaN."""
    return torch.linalg.vector_norm(gradient, dim=1)


def mixed(real, fake, epsilon):
    factor = epsilon.reshape([-1] + [1] * (real.dim() - 1))
    return factor * real + (1 - factor) * fake


def textbook_r1(critic, real, *, gamma=10.0, **call):
    """Mescheder et al., arXiv 1801.04406, equation 9; with fake samples, R2."""
    gradient = input_gradient(critic, real, **call)
    return gamma / 2 * (gradient**2).sum(dim=1).mean()


def textbook_dragan(critic, real, *, uniform, lambda_gp=10.0, k=1.0, **call):
    """Kodali et al., arXiv 1705.07215, with their code's perturbation."""
    deviation = ((real - real.mean()) ** 2).mean().sqrt()
    gradient = input_gradient(critic, real + 0.5 * deviation * uniform, **call)
    return lambda_gp * ((euclidean_norms(gradient) - k) ** 2).mean()


def textbook_wgan_div(critic, real, fake, *, epsilon, k=2.0, p=6.0, **call):
    """Wu et al., arXiv 1712.01026."""
    gradient = input_gradient(critic, mixed(real, fake, epsilon), **call)
    return k * ((gradient**2).sum(dim=1) ** (p / 2)).mean()


def textbook_max_gradient(critic, real, fake, *, epsilon, lambda_gp=10.0, **call):
    """Zhou et al., arXiv 1902.05687."""
    gradient = input_gradient(critic, mixed(real, fake, epsilon), **call)
    return lambda_gp * (gradient**2).sum(dim=1).max()


def textbook_banach(critic, real, fake, *, epsilon, dual, lambda_gp=10.0, target=1.0,
                    one_sided=False, **call):  # fmt: skip
    """Adler and Lunz, arXiv 1806.06621: ``dual`` is the exponent of the dual norm."""
    size = input_gradient(critic, mixed(real, fake, epsilon), **call).abs()
    if dual == math.inf:
        norms = size.max(dim=1).values
    elif dual == 1:
        norms = size.sum(dim=1)
    else:
        norms = euclidean_norms(size)
    distance = norms - target
    if one_sided:
        distance = torch.maximum(distance, torch.zeros_like(distance))
    return lambda_gp * (distance**2).mean()


def textbook_consistency(first, second, *, lambda_ct=2.0, margin=0.0, factor=0.1):
    """Wei et al., arXiv 1803.01541, with the squares of their code.

    ``first`` and ``second`` are what the critic returned in its two passes: ``(scores, features)``.
    """
    (d1, f1), (d2, f2) = first, second
    distance = ((d1 - d2).reshape(len(d1), -1) ** 2).sum(dim=1)
    distance = distance + factor * ((f1 - f2).reshape(len(f1), -1) ** 2).mean(dim=1)
    return lambda_ct * torch.clamp(distance - margin, min=0).mean()


def textbook_approximate_r1(critic, real, *, noise, lambda_r1=100.0, sigma=0.01, **call):
    """Lin et al., arXiv 2501.08316."""
    args, kwargs = call.get("critic_args", ()), call.get("critic_kwargs") or {}
    difference = critic(real, *args, **kwargs) - critic(real + sigma * noise, *args, **kwargs)
    return lambda_r1 * (difference.reshape(len(real), -1).sum(dim=1) ** 2).mean()


def textbook_path_lengths(images, latents, *, noise):
    """Karras et al., arXiv 1912.04958, equation 4, as in their code: ``[B]``, never 0."""
    height, width = images.shape[2:]
    (gradient,) = torch.autograd.grad(
        (images * noise / math.sqrt(height * width)).sum(), latents, create_graph=True
    )
    squares = (gradient**2).sum(dim=-1)
    return torch.sqrt(squares.mean(dim=1) if latents.dim() == 3 else squares)


def cross_entropy(logits, label):
    """The standard GAN's losses as binary cross-entropy, from probabilities."""
    probabilities = torch.sigmoid(logits)
    return -torch.log(probabilities if label else 1 - probabilities).mean()


def hinge(scores, side):
    """Lim and Ye, arXiv 1705.02894: what is on the wrong side of its margin, 1 or -1."""
    short = 1 - side * scores
    return torch.where(short > 0, short, torch.zeros_like(short)).mean()
