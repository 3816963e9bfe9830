"""The family for samples of several tensors, from the papers: no line is shared with the library.

Every sample has one mixing factor, for all of its tensors, and one norm: that of all its gradients
taken as one vector. Everything random is given. Sources are those of ``tests.textbook_family``.
"""

import math

import torch

#: The norm of some gradients, ``[B]``, by its exponent.
NORMS = {
    1: lambda gradients: sum(rows(g).abs().sum(1) for g in gradients),
    2: lambda gradients: sum((rows(g) ** 2).sum(1) for g in gradients).sqrt(),
    math.inf: lambda gradients: torch.stack([rows(g).abs().amax(1) for g in gradients]).amax(0),
}

#: What a batch costs by its norms, at the default weights.
TERMS = {
    "wgan_gp": lambda n: 10 * ((n - 1) ** 2).mean(),
    "r1": lambda n: 5 * (n**2).mean(),
    "r2": lambda n: 5 * (n**2).mean(),
    "dragan": lambda n: 10 * ((n - 1) ** 2).mean(),
    "wgan_div": lambda n: 2 * (n**6).mean(),
    "max": lambda n: 10 * (n**2).max(),
}


def rows(x):
    return x.reshape(len(x), -1)


def between(real, fake, epsilon):
    """Lists of tensors; one factor for each sample."""
    points = []
    for x, y in zip(real, fake, strict=True):
        factor = epsilon.reshape([-1] + [1] * (x.dim() - 1))
        points.append(factor * x + (1 - factor) * y)
    return points


def around(real, generator):
    """DRAGAN's: each tensor by its own deviation, drawn one after the other."""
    points = []
    for x in real:
        uniform = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        deviation = ((x - x.mean()) ** 2).mean().sqrt()
        points.append(x + 0.5 * deviation * uniform)
    return points


def norms_at(critic, points, norm=2, **call):
    """The norms, ``[B]``, of a critic that takes a list of tensors."""
    points = [x.detach().clone().requires_grad_() for x in points]
    scores = critic(points, *call.get("critic_args", ()), **(call.get("critic_kwargs") or {}))
    return NORMS[norm](torch.autograd.grad(scores.sum(), points, create_graph=True))
