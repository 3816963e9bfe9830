"""Trains a critic by a loss and by the captured loss, to compare all that there is afterwards."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from wgan_fast import captured, critic_loss, fast_gradient_penalty, r1_penalty


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.net, self.score = kind(8, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        return self.score(self.net(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.score = nn.Linear(8, 1)

    def forward(self, x):
        return self.score(self.net(x).mean(1))


class RunningMean(nn.Module):
    """Puts another tensor in the place of its state, and does not change it in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(5))
        self.net = nn.Linear(5, 1)

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.net(x - self.mean)


def mlp(*between, out=16):
    return nn.Sequential(nn.Linear(5, out), *between, nn.LeakyReLU(0.2), nn.Linear(out, 1))


def normalised(by):
    return nn.Sequential(by(nn.Linear(5, 16)), nn.LeakyReLU(0.2), by(nn.Linear(16, 1)))


def conv():
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 8, 4, 2, 1),
        nn.InstanceNorm2d(8, affine=True), nn.SiLU(), nn.Flatten(), nn.Linear(32, 1),
    )  # fmt: skip


#: Name -> how to make a critic, and the shape of its samples.
CRITICS = {
    "mlp": (mlp, (8, 5)),
    "conv": (conv, (4, 3, 8, 8)),
    "dropout": (lambda: mlp(nn.Dropout(0.5)), (8, 5)),
    "spectral_norm": (lambda: normalised(nn.utils.parametrizations.spectral_norm), (8, 5)),
    "old_spectral_norm": (lambda: normalised(nn.utils.spectral_norm), (8, 5)),
    "weight_norm": (lambda: normalised(nn.utils.parametrizations.weight_norm), (8, 5)),
    "batch_norm": (lambda: mlp(nn.BatchNorm1d(16)), (8, 5)),
    "layer_norm": (lambda: mlp(nn.LayerNorm(16), nn.GELU()), (8, 5)),
    "running_mean": (RunningMean, (8, 5)),
    "lstm": (lambda: Recurrent(nn.LSTM), (4, 3, 8)),
    "gru": (lambda: Recurrent(nn.GRU), (4, 3, 8)),
    "attention": (Attention, (4, 3, 8)),
}


def gradient_penalty(critic):
    def loss(real, fake):
        penalty = fast_gradient_penalty(critic, real, fake)
        return critic(fake).mean() - critic(real).mean() + penalty

    return loss


def textbook(critic):
    def loss(real, fake):
        epsilon = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype)
        x = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
        (slopes,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        penalty = 10 * ((slopes.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return critic(fake).mean() - critic(real).mean() + penalty

    return loss


def r1(critic):
    def loss(real, fake):
        adversarial = F.softplus(critic(fake)).mean() + F.softplus(-critic(real)).mean()
        return adversarial + r1_penalty(critic, real, gamma=1.0)

    return loss


def whole_step(critic):
    return lambda real, fake: critic_loss(
        critic, real, fake, loss="relativistic", gp=1.0, r1=1.0, r2=1.0
    )


LOSSES = {f.__name__: f for f in (gradient_penalty, textbook, r1, whole_step)}


def samples(shape, dtype=torch.float64, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype)


def replayed(loss, **settings):
    return captured(loss, executor="replay", **settings)


def train(critic, loss, batches, seed=3):
    """Losses, gradients, weights and buffers of a few steps, and the random number after them."""
    torch.manual_seed(seed)
    optimiser = torch.optim.SGD(critic.parameters(), 1e-2, momentum=0.5)
    seen = []
    for real, fake in batches:
        optimiser.zero_grad()
        value = loss(real, fake)
        value.backward()
        seen += [value.detach(), *(p.grad.clone() for p in critic.parameters())]
        optimiser.step()
    return [*seen, *critic.state_dict().values(), torch.rand(1)]


def both(make, make_loss, shape, dtype=torch.float64, capture=replayed, steps=4):
    """What :func:`train` gives for the captured loss and for the loss itself; and the captured."""
    torch.manual_seed(0)
    critic = make().to(dtype)
    twin = copy.deepcopy(critic)
    batches = [samples(shape, dtype, seed) for seed in range(steps)]
    loss = capture(make_loss(critic))
    ours = train(critic, loss, batches)
    return ours, train(twin, make_loss(twin), batches), loss


def assert_equal(ours, theirs):
    """To the last bit."""
    assert len(ours) == len(theirs)
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(a, b), index
