"""Critics and generators: convolutional for images, fully connected for points in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

LATENT = 64  # dimensions of the noise z


def networks(shape: Sequence[int], width: int, dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    """The critic and the generator for samples of this shape, [channels, size, size] or [2].

    The critic drops a share of its features after each activation, where the authors of CT-GAN do.
    """
    if len(shape) == 3:
        channels, size, _ = shape
        return image_critic(size, channels, width, dropout), image_generator(size, channels, width)
    return point_critic(width, dropout), point_generator(width)


def image_critic(size: int, channels: int, width: int, dropout: float = 0.0) -> nn.Sequential:
    """[B, channels, size, size] to scores [B, 1]: halve the image down to 4x4, double the features.

    No batch normalisation: the penalty is about the gradient of each sample by itself.
    """
    features = [channels, *feature_counts(size, width)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(features):
        layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += dropping(dropout)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features[-1] * 4 * 4, 1))


def image_generator(size: int, channels: int, width: int) -> nn.Sequential:
    """Noise [B, LATENT] to images [B, channels, size, size] in [-1, 1]: the critic mirrored."""
    features = [2 * n for n in feature_counts(size, width)][::-1]
    layers: list[nn.Module] = [
        nn.Linear(LATENT, features[0] * 4 * 4, bias=False),
        nn.Unflatten(1, (features[0], 4, 4)),
        nn.BatchNorm2d(features[0]),
        nn.ReLU(),
    ]
    for n_in, n_out in pairwise(features):
        layers += [
            nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        ]
    last = nn.ConvTranspose2d(features[-1], channels, 4, stride=2, padding=1)
    return nn.Sequential(*layers, last, nn.Tanh())


def feature_counts(size: int, width: int) -> list[int]:
    """Features after each halving of the image, the finest first: width, 2 width, ... 8 width."""
    halvings = size.bit_length() - 3  # 8 to 4 is one, 16 to 4 two, ...
    return [width * min(2**i, 8) for i in range(halvings)]


def point_critic(width: int, dropout: float = 0.0) -> nn.Sequential:
    """[B, 2] to scores [B, 1], three hidden layers."""
    return fully_connected(2, width, 1, dropout)


def point_generator(width: int) -> nn.Sequential:
    """Noise [B, LATENT] to points [B, 2], three hidden layers."""
    return fully_connected(LATENT, width, 2)


def fully_connected(n_in: int, width: int, n_out: int, dropout: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (n_in, width, width):
        layers += [nn.Linear(n, width), nn.ReLU(), *dropping(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, n_out))


def dropping(share: float) -> list[nn.Module]:
    """The layer that drops a share of the features; none if nothing is to be dropped."""
    return [nn.Dropout(share)] if share else []
