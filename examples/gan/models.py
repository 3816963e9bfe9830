"""Critics and generators: convolutional for images, fully connected for points in the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

LATENT = 64  # dimensions of the noise z
SLOPE = 0.2  # of leaky activations, for negative values

Layer = TypeVar("Layer", nn.Linear, nn.ConvTranspose2d)


def networks(
    shape: Sequence[int], width: int, dropout: float = 0.0, normalised: bool = True
) -> tuple[nn.Module, nn.Module]:
    """The critic and the generator for samples of this shape, [channels, size, size] or [2].

    The critic drops a share of its features after each activation, where the authors of CT-GAN do.
    The generator of images normalises its features if it is ``normalised``.
    """
    if len(shape) == 3:
        channels, size, _ = shape
        make_generator = image_generator if normalised else plain_image_generator
        return image_critic(size, channels, width, dropout), make_generator(size, channels, width)
    return point_critic(width, dropout), point_generator(width)


def image_critic(
    size: int, channels: int, width: int, dropout: float = 0.0, *, smallest: int = 4
) -> nn.Sequential:
    """[B, channels, size, size] to scores [B, 1]: halve the image, double the features.

    The last features have ``smallest`` pixels on a side.

    No batch normalisation: the penalty is about the gradient of each sample by itself.
    """
    features = [channels, *feature_counts(size // smallest, width)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(features):
        layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        layers += dropping(dropout)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features[-1] * smallest**2, 1))


def image_generator(size: int, channels: int, width: int, *, smallest: int = 4) -> nn.Sequential:
    """Noise [B, LATENT] to images [B, channels, size, size] in [-1, 1]: the critic mirrored."""
    features = [2 * n for n in feature_counts(size // smallest, width)][::-1]
    layers: list[nn.Module] = [
        nn.Linear(LATENT, features[0] * smallest**2, bias=False),
        nn.Unflatten(1, (features[0], smallest, smallest)),
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


def plain_image_generator(
    size: int, channels: int, width: int, *, smallest: int = 4, doubled: bool = True
) -> nn.Sequential:
    """The same without normalisation: what R3GAN's generator has in common with its critic.

    All layers have 2 width features where they are not ``doubled`` from one to the next.
    """
    features = [2 * n for n in feature_counts(size // smallest, width, doubled)][::-1]
    layers: list[nn.Module] = [
        begun_as_by_he(nn.Linear(LATENT, features[0] * smallest**2), n_inputs=LATENT),
        nn.Unflatten(1, (features[0], smallest, smallest)),
        nn.LeakyReLU(SLOPE),
    ]
    for n_in, n_out in pairwise(features):
        # Of the 4x4 weights of each feature, a stride of 2 lets 2x2 meet in a pixel.
        grown = nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)
        layers += [begun_as_by_he(grown, n_inputs=4 * n_in), nn.LeakyReLU(SLOPE)]
    last = nn.ConvTranspose2d(features[-1], channels, 4, stride=2, padding=1)
    return nn.Sequential(*layers, last, nn.Tanh())


@torch.no_grad()
def begun_as_by_he(layer: Layer, n_inputs: int, slope: float = SLOPE) -> Layer:
    """The layer with first weights that keep the size of features where nothing normalises them.

    Source: He et al., "Delving Deep into Rectifiers", arXiv 1502.01852, section 2.2.
    """
    layer.weight.normal_(std=math.sqrt(2 / (1 + slope**2) / n_inputs))
    if layer.bias is not None:
        layer.bias.zero_()
    return layer


def feature_counts(ratio: int, width: int, doubled: bool = True) -> list[int]:
    """Features after each halving of the image, the finest first: width, 2 width, ... 8 width.

    The image is so many times as wide as the smallest features.
    """
    halvings = ratio.bit_length() - 1  # 2 is one, 4 two, ...
    return [width * min(2**i, 8) if doubled else width for i in range(halvings)]


def residual_networks(shape: Sequence[int], width: int) -> tuple[nn.Module, nn.Module]:
    """A critic and a generator of images, [channels, size, size], by residual blocks.

    As in the WGAN-GP paper, appendix F, but with one block for each halving of the image, and one
    more in the critic: no normalisation in the critic, batch normalisation in the generator.
    """
    channels, size, _ = shape
    n = len(feature_counts(size // 4, width))
    shrinking = [Residual(width, nn.AvgPool2d(2)) for _ in range(n)]
    critic = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        *shrinking,
        Residual(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 1),
    )
    growing = [Residual(width, nn.Upsample(scale_factor=2), True) for _ in range(n)]
    generator = nn.Sequential(
        nn.Linear(LATENT, width * 4 * 4),
        nn.Unflatten(1, (width, 4, 4)),
        *growing,
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels, 3, padding=1),
        nn.Tanh(),
    )
    return critic, generator


class Residual(nn.Module):
    """x + f(x), both resized where a resizing is given; f is two convolutions, activated before."""

    def __init__(self, n: int, resize: nn.Module | None = None, normalised: bool = False):
        super().__init__()
        self.resize = resize or nn.Identity()
        grown = resize if isinstance(resize, nn.Upsample) else nn.Identity()
        self.change = nn.Sequential(
            nn.BatchNorm2d(n) if normalised else nn.Identity(),
            nn.ReLU(),
            grown,
            nn.Conv2d(n, n, 3, padding=1),
            nn.BatchNorm2d(n) if normalised else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(n, n, 3, padding=1),
            nn.Identity() if resize is grown else self.resize,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.resize(x) + self.change(x)


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
