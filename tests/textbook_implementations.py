"""What other implementations compute, shortened, with their own names: the clients of the tests.

Each function gets what :func:`setting` makes, adds the names that its call in docs/migration.md
uses, and returns the penalty by the formula of the implementation: no line is shared with the
library. Those that penalise scores of the loss are in ``tests.textbook_implementations_of_scores``.
"""

from types import SimpleNamespace

import torch
from torch import nn

B, C, H, W = 6, 3, 4, 5

#: What each implementation computes, by its name in docs/migration.md.
CLIENTS = {}


def client(*names):
    """Registers a function ``(what is set up) -> penalty``, which adds the names of its own."""

    def register(function):
        CLIENTS.update(dict.fromkeys(names, function))
        return function

    return register


class Critic(nn.Module):
    """Scores of images or rows, with labels or without. Smooth: points count, not only signs."""

    def __init__(self, size=C * H * W):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.SiLU())
        self.classes, self.score = nn.Embedding(3, 8), nn.Linear(8, 1)

    def forward(self, x, y=None):
        features = self.features(x)
        return self.score(features if y is None else features * self.classes(y))


def setting():
    """A critic, samples ``[B, C, H, W]``, labels and mixing factors, the same ones every time."""
    torch.manual_seed(0)
    real, fake = torch.randn(2, B, C, H, W, dtype=torch.float64)
    epsilon = torch.rand(B, dtype=torch.float64)
    return SimpleNamespace(
        critic=Critic().double(), real=real, fake=fake, epsilon=epsilon, y=torch.arange(B) % 3
    )


def gradient(scores, points):
    """Of each score with respect to its sample, ``[B, *]``."""
    return torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)[0]


def norms(scores, points):
    return gradient(scores, points).flatten(1).norm(2, dim=1)


def mixed(first, second, factor):
    """Points that require a gradient; one factor for each sample, that of ``first``."""
    factor = factor.reshape([-1] + [1] * (first.dim() - 1))
    return (factor * first + (1 - factor) * second).detach().requires_grad_()


def wgan_gp(n, critic, first, second, center=1.0):
    points = mixed(first, second, n.epsilon)
    return ((norms(critic(points), points) - center) ** 2).mean()


@client("igul222/improved_wgan_training")
def improved_wgan_training(n):
    n.LAMBDA = 0.1
    return n.LAMBDA * wgan_gp(n, n.critic, n.fake, n.real)


@client("caogang/wgan-gp")
def caogang(n):
    n.netD, n.real_data, n.fake_data, n.LAMBDA = n.critic, n.real, n.fake, 10
    return wgan_gp(n, n.netD, n.real_data, n.fake_data) * n.LAMBDA


@client("eriklindernoren/PyTorch-GAN, WGAN-GP")
def pytorch_gan(n):
    n.D, n.real_samples, n.fake_samples, n.lambda_gp = n.critic, n.real, n.fake, 10
    return n.lambda_gp * wgan_gp(n, n.D, n.real_samples, n.fake_samples)


@client("torchgan")
def torchgan(n):
    """With its one factor, and with a norm for each sample."""
    n.epsilon = torch.rand(1).expand(B).double()
    return 10 * wgan_gp(n, n.critic, n.real, n.fake)


@client("kwotsin/mimicry")
def mimicry(n):
    n.netD, n.real_images, n.fake_images, n.gp_scale = n.critic, n.real, n.fake, 5.0
    return wgan_gp(n, n.netD, n.real_images, n.fake_images) * n.gp_scale


@client('junyanz/CycleGAN, `type="mixed"`')
def cycle_gan(n):
    n.netD, n.real_data, n.fake_data = n.critic, n.real, n.fake
    n.lambda_gp, n.constant = 10.0, 0.7
    points = mixed(n.real_data, n.fake_data, n.epsilon)
    found = gradient(n.netD(points), points).view(B, -1)
    return (((found + 1e-16).norm(2, dim=1) - n.constant) ** 2).mean() * n.lambda_gp


@client('junyanz/CycleGAN, `type="real"`')
def cycle_gan_real(n):
    n.epsilon = torch.ones(B, dtype=torch.float64)
    return cycle_gan(n)


@client("tensorflow/gan")
def tensorflow_gan(n):
    n.weight, n.target = 3.0, 2.0
    points = mixed(n.real, n.fake, n.epsilon)
    slopes = norms(n.critic(points), points)
    return n.weight * ((slopes / n.target - 1) ** 2).mean()


@client("keras.io")
def keras(n):
    """With uniform factors."""
    n.gp_weight = 10.0
    return n.gp_weight * wgan_gp(n, n.critic, n.fake, n.real)


@client("sdv-dev/CTGAN")
def ctgan(n):
    """Six rows in pacs of three: two, which are no multiple of three."""
    n.D, n.pac, n.lambda_ = C * H * W, 3, 10
    n.real, n.fake, n.epsilon = n.real.flatten(1), n.fake.flatten(1), n.epsilon[: B // n.pac]
    seq = nn.Sequential(nn.Linear(n.pac * n.D, 8), nn.SiLU(), nn.Linear(8, 1)).double()
    n.discriminator = n.critic = SimpleNamespace(seq=seq, parameters=seq.parameters)

    def forward(rows):
        assert rows.size()[0] % n.pac == 0
        return seq(rows.view(-1, n.pac * n.D))

    alpha = n.epsilon.reshape(-1, 1, 1).repeat(1, n.pac, n.D).view(-1, n.D)
    points = (alpha * n.real + (1 - alpha) * n.fake).requires_grad_()
    found = gradient(forward(points), points).view(-1, n.pac * n.D).norm(2, dim=1) - 1
    return (found**2).mean() * n.lambda_


@client("BasicSR, mmgeneration")
def mmgeneration(n):
    """``norm_mode="HWC"``."""
    n.discriminator, n.real_data, n.fake_data, n.loss_weight = n.critic, n.real, n.fake, 10.0
    return n.loss_weight * wgan_gp(n, n.discriminator, n.real_data, n.fake_data)


@client("Zeleni9/pytorch-wgan")
def zeleni9(n):
    n.D, n.real_images, n.fake_images, n.lambda_term = n.critic, n.real, n.fake, 10
    return wgan_gp(n, n.D, n.real_images, n.fake_images) * n.lambda_term


@client("POSTECH-CVLab/PyTorch-StudioGAN")
def studio_gan(n):
    n.gp_lambda, n.labels = 10.0, n.y
    n.Dis = n.critic
    n.Dis.forward = lambda x, y: {"adv_output": Critic.forward(n.Dis, x, y)}
    return n.gp_lambda * wgan_gp(n, lambda x: n.Dis(x, n.labels)["adv_output"], n.real, n.fake)


@client("LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch")
def lynnho(n):
    n.D, n.weight = n.critic, 10.0
    alpha = n.epsilon.reshape(-1, 1, 1, 1)
    points = (n.real + alpha * (n.fake - n.real)).requires_grad_()
    return n.weight * ((norms(n.D(points), points) - 1) ** 2).mean()


@client("LMescheder/GAN_stability, `wgangp`")
def gan_stability(n):
    n.discriminator, n.x_real, n.x_fake, n.reg_param = n.critic, n.real, n.fake, 10.0
    points = mixed(n.x_fake, n.x_real, n.epsilon)
    squares = gradient(n.discriminator(points, n.y), points).pow(2).view(B, -1).sum(1)
    return n.reg_param * (squares.sqrt() - 1.0).pow(2).mean()


@client("gretel-synthetics, DoppelGANger")
def doppelganger(n):
    """The paper's: one norm for each sample over attributes and features."""
    n.coefficient, n.critic = 10.0, Critic(7 + 2 * 5).double()
    n.discriminate = lambda batch: n.critic(torch.cat([x.flatten(1) for x in batch], dim=1))
    n.real_batch, n.generated_batch = (
        [torch.randn(B, 7).double(), torch.randn(B, 2, 5).double()] for _ in range(2)
    )
    points = [mixed(r, g, n.epsilon) for r, g in zip(n.real_batch, n.generated_batch, strict=True)]
    found = torch.autograd.grad(n.discriminate(points).sum(), points, create_graph=True)
    joint = sum(each.flatten(1).square().sum(1) for each in found).sqrt()
    return n.coefficient * ((joint - 1.0) ** 2).mean()


class Molecules(nn.Module):
    """Logits and features of a graph."""

    def __init__(self):
        super().__init__()
        self.edges, self.nodes = nn.Linear(4 * 4 * 2, 8), nn.Linear(4 * 3, 8)
        self.score = nn.Linear(8, 1)

    def forward(self, adjacency, hidden, node):
        features = torch.tanh(self.edges(adjacency.flatten(1)) + self.nodes(node.flatten(1)))
        return self.score(features), features


def molecules(n):
    n.D = n.critic = Molecules().double()
    n.lambda_gp = 10.0
    n.a_tensor, n.edges_hat = torch.rand(2, B, 4, 4, 2).double()
    n.x_tensor, n.nodes_hat = torch.rand(2, B, 4, 3).double()
    n.x_int0 = mixed(n.a_tensor, n.edges_hat, n.epsilon)
    n.x_int1 = mixed(n.x_tensor, n.nodes_hat, n.epsilon)
    n.logits, n.features = n.D(n.x_int0, None, n.x_int1)


@client("yongqyu/MolGAN-pytorch")
def molgan(n):
    """The paper's: one norm of the scores' gradient with respect to edges and nodes."""
    molecules(n)
    found = torch.autograd.grad(n.logits.sum(), (n.x_int0, n.x_int1), create_graph=True)
    joint = sum(each.flatten(1).square().sum(1) for each in found).sqrt()
    return n.lambda_gp * ((joint - 1) ** 2).mean()


@client("yongqyu/MolGAN-pytorch, as it is there")
def molgan_as_it_is(n):
    molecules(n)
    parts = [norms(n.logits, n.x_int0), norms(n.features, n.x_int1)]
    return n.lambda_gp * sum(((part - 1) ** 2).mean() for part in parts)


# DRAGAN.


def penalty_at(critic, points):
    points = points.detach().requires_grad_()
    return ((norms(critic(points), points) - 1) ** 2).mean()


@client("kodalinaveen3/DRAGAN, the authors")
def dragan(n):
    n.lambda_ = 10
    deviation = n.real.std(correction=0)  # NumPy's
    return n.lambda_ * penalty_at(n.critic, n.real + 0.5 * deviation * torch.rand_like(n.real))


@client("LynnHo, StudioGAN")
def dragan_on_a_line(n):
    n.weight = 10.0
    differences = 0.5 * n.real.std() * torch.rand_like(n.real)
    alpha = n.epsilon.reshape(-1, 1, 1, 1)
    return n.weight * penalty_at(n.critic, n.real + alpha * differences)


@client("PyTorch-GAN")
def dragan_in_each_entry(n):
    """With a norm for each sample. ``1 - alpha`` is as uniform as ``alpha``."""
    n.lambda_gp, uniform, alpha = 10, torch.rand_like(n.real), 1 - torch.rand_like(n.real)
    points = alpha * n.real + (1 - alpha) * (n.real + 0.5 * n.real.std() * uniform)
    return n.lambda_gp * penalty_at(n.critic, points)
