"""The loss of a whole critic step as loops write it: no line of it is shared with the library.

Sources: Goodfellow et al., arXiv 1406.2661; Arjovsky et al., arXiv 1701.07875; Lim and Ye,
arXiv 1705.02894 (hinge); Huang et al., arXiv 2501.05441 (relativistic, R1 and R2).
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

TEXTBOOK_LOSSES = {
    "wasserstein": lambda real, fake: fake.mean() - real.mean(),
    "gan": lambda real, fake: (
        -torch.log(torch.sigmoid(real)).mean() - torch.log(torch.sigmoid(-fake)).mean()
    ),
    "hinge": lambda real, fake: torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(),
    "relativistic": lambda real, fake: torch.log(1 + torch.exp(fake - real)).mean(),
}


def textbook_critic_step(
    critic,
    real,
    fake,
    *,
    loss="wasserstein",
    gp=None,
    r1=None,
    r2=None,
    epsilon=None,
    critic_args=(),
    critic_kwargs=None,
):
    """``(loss, scores of real, scores of fake)``, the usual code in the usual order of calls.

    Args:
        critic, real, fake, loss, gp, r1, r2, epsilon, critic_args, critic_kwargs: as in
            ``wgan_fast.critic_loss``; weights alone.
    """

    def scores_of(points):
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no double backward
            return critic(points, *critic_args, **(critic_kwargs or {}))

    def squares(scores, points):
        (gradients,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        return (gradients.reshape(len(points), -1) ** 2).sum(dim=1)

    real, fake = (x.detach().clone().requires_grad_(True) for x in (real, fake))
    real_scores, fake_scores = scores_of(real), scores_of(fake)
    total = TEXTBOOK_LOSSES[loss](real_scores, fake_scores)
    if r1 is not None:
        total = total + r1 / 2 * squares(real_scores, real).mean()
    if r2 is not None:
        total = total + r2 / 2 * squares(fake_scores, fake).mean()
    if gp is not None:
        factor = epsilon.reshape([-1] + [1] * (real.dim() - 1))
        points = (factor * real + (1 - factor) * fake).detach().requires_grad_(True)
        norms = squares(scores_of(points), points).sqrt()
        total = total + gp * ((norms - 1) ** 2).mean()
    return total, real_scores.detach(), fake_scores.detach()
