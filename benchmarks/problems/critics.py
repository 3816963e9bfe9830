"""The critics that are raced, in the sizes of the papers they come from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Layer = Callable[[], nn.Module]


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def mlp(
    size: int,
    width: int,
    depth: int,
    activation: Layer = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """``depth`` hidden layers, as in WGAN-GP's toy experiments (three or four times 512).

    ``norm(width)`` makes a normalisation layer before each activation.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise([size, *[width] * depth]):
        layers += [nn.Linear(before, after), *([norm(after)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def dcgan(
    size: int = 64,
    width: int = 64,
    activation: Layer = leaky,
    norm: Callable[[int, int], nn.Module] | None = None,
    channels: int = 3,
) -> nn.Sequential:
    """Radford et al. 2016: strided 4x4 convolutions down to 4x4, features doubled each time.

    ``norm(features, size)`` makes a normalisation layer, from the second convolution on.
    """
    layers: list[nn.Module] = []
    before, after = channels, width
    while size > 4:
        size //= 2
        is_first = not layers
        layers.append(nn.Conv2d(before, after, 4, 2, 1))
        if norm is not None and not is_first:
            layers.append(norm(after, size))
        layers.append(activation())
        before, after = after, min(2 * after, 8 * width)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 4 * 4, 1))


class ResidualBlock(nn.Module):
    """The block of WGAN-GP's CIFAR-10 critic: two 3x3 convolutions and mean pooling."""

    def __init__(self, before: int, after: int, down: bool):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if down else nn.Identity()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(F.relu(self.first(F.relu(x))))
        return self.pool(hidden) + self.shortcut(self.pool(x))


def resnet(width: int = 128) -> nn.Sequential:
    """WGAN-GP's critic for 32x32 images (arXiv 1704.00028, appendix F), without normalisation."""
    return nn.Sequential(
        ResidualBlock(3, width, down=True), ResidualBlock(width, width, down=True),
        ResidualBlock(width, width, down=False), ResidualBlock(width, width, down=False),
        nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(width, 1),
    )  # fmt: skip


class Projection(nn.Module):
    """Miyato and Koyama 2018: the label's embedding times the features."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.features = dcgan(32, width)[:-2]
        self.score = nn.Linear(4 * width, 1)
        self.classes = nn.Embedding(classes, 4 * width)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        features = self.features(x).sum((2, 3))
        return self.score(features) + (self.classes(labels) * features).sum(1, keepdim=True)


def wavegan(width: int = 32) -> nn.Sequential:
    """Donahue et al. 2019 for 16384 samples of sound, without phase shuffling, which is random."""
    layers: list[nn.Module] = []
    for before, after in pairwise([1, width, 2 * width, 4 * width, 8 * width, 16 * width]):
        layers += [nn.Conv1d(before, after, 25, stride=4, padding=11), leaky()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width * 16, 1))


def tabular(pac: int, columns: int) -> nn.Sequential:
    """CTGAN's critic: ``pac`` rows of a table are one sample; without dropout, which is random."""
    return nn.Sequential(nn.Flatten(), *mlp(pac * columns, 256, 2, leaky))


class Attention(nn.Module):
    """Two layers of self-attention over a sequence of vectors."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.enter = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2)
        )
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x)
        for layer in self.layers:
            with sdpa_kernel(SDPBackend.MATH):  # the fused one has no double backward
                hidden = hidden + layer(hidden, hidden, hidden, need_weights=False)[0]
        return self.score(F.leaky_relu(hidden, 0.2).mean(1))


class Recurrent(nn.Module):
    """The last state of an LSTM or a GRU."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], features: int, width: int):
        super().__init__()
        self.cells = kind(features, hidden_size=width, batch_first=True)
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.cells(x)[0][:, -1])


def layer_norm(features: int, size: int) -> nn.Module:
    return nn.LayerNorm([features, size, size])


def instance_norm(features: int, size: int) -> nn.Module:
    return nn.InstanceNorm2d(features, affine=True)


def group_norm(features: int, size: int) -> nn.Module:
    """Eight groups, of two features at least."""
    return nn.GroupNorm(max(1, min(8, features // 2)), features)


def generator(size: int, width: int) -> nn.Sequential:
    """DCGAN's generator: noise ``[B, 128]`` to images ``[B, 3, size, size]``."""
    features = width * min(size // 8, 8)
    layers: list[nn.Module] = [
        nn.Linear(128, features * 16, bias=False), nn.Unflatten(1, (features, 4, 4)),
        nn.BatchNorm2d(features), nn.ReLU(),
    ]  # fmt: skip
    for _ in range(size.bit_length() - 4):
        layers += [nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=False)]
        features //= 2
        layers += [nn.BatchNorm2d(features), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(features, 3, 4, 2, 1), nn.Tanh())


def vector_generator(size: int, width: int, depth: int) -> nn.Sequential:
    """Noise ``[B, 128]`` to vectors ``[B, size]``."""
    net = mlp(128, width, depth)
    net[-1] = nn.Linear(width, size)
    return net
