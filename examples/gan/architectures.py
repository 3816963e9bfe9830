"""Pairs of critic and generator for images: DCGAN's, and designs that are harder to train.

After figure 2 of Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028.
Here no critic has a normalisation, so that every method trains the same two networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from torch import nn

from .models import (
    LATENT,
    Residual,
    begun_as_by_he,
    feature_counts,
    image_critic,
    image_generator,
    plain_image_generator,
)

#: From the size of the image, its channels and the width.
MakeNetwork = Callable[[int, int, int], nn.Sequential]

SMALLEST = 2  # size of the smallest features, so that digits of 8x8 pixels are halved twice
HIDDEN_LAYERS = 4  # of the fully connected generator
RESIDUAL_LAYERS = 12  # convolutions inside residual blocks, two in each block


@dataclass(frozen=True)
class Architecture:
    """A pair of networks.

    Args:
        title: its name in a picture.
        words: its name in a sentence, after "with".
        generator: makes the generator.
        critic: makes the critic.
    """

    title: str
    words: str
    generator: MakeNetwork
    critic: MakeNetwork

    def networks(self, shape: Sequence[int], width: int) -> tuple[nn.Module, nn.Module]:
        """The critic and the generator for images of this shape, [channels, size, size]."""
        channels, size, _ = shape
        return self.critic(size, channels, width), self.generator(size, channels, width)


def fully_connected_generator(size: int, channels: int, width: int) -> nn.Sequential:
    """Noise [B, LATENT] to images, by hidden layers of 8 width features and no convolution."""
    features = [LATENT, *[8 * width] * HIDDEN_LAYERS]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(features):
        layers += [begun_as_by_he(nn.Linear(n_in, n_out), n_in, slope=0.0), nn.ReLU()]
    last = nn.Linear(features[-1], channels * size * size)
    return nn.Sequential(*layers, last, nn.Unflatten(1, (channels, size, size)), nn.Tanh())


def with_tanh(make: MakeNetwork, size: int, channels: int, width: int) -> nn.Sequential:
    """The network with tanh in the place of every ReLU."""
    layers = make(size, channels, width)
    rectifiers = (nn.ReLU, nn.LeakyReLU)
    return nn.Sequential(*[nn.Tanh() if isinstance(x, rectifiers) else x for x in layers])


def residual_critic(size: int, channels: int, width: int) -> nn.Sequential:
    """Images to scores [B, 1]: residual blocks after each halving."""
    layers: list[nn.Module] = []
    for n_in in [channels, *[width] * (halvings(size) - 1)]:
        layers += [nn.Conv2d(n_in, width, 4, stride=2, padding=1)]
        layers += residual_blocks(size, width, normalised=False)
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(width * SMALLEST**2, 1))


def residual_generator(size: int, channels: int, width: int) -> nn.Sequential:
    """Noise [B, LATENT] to images: the critic mirrored, its blocks with batch normalisation."""
    layers: list[nn.Module] = [
        nn.Linear(LATENT, width * SMALLEST**2),
        nn.Unflatten(1, (width, SMALLEST, SMALLEST)),
    ]
    for n_out in [*[width] * (halvings(size) - 1), channels]:
        layers += residual_blocks(size, width, normalised=True)
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.ConvTranspose2d(width, n_out, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.Tanh())


def halvings(size: int) -> int:
    return len(feature_counts(size // SMALLEST, 1))


def residual_blocks(size: int, n: int, normalised: bool) -> list[nn.Module]:
    """Those of one size of the features; all sizes have RESIDUAL_LAYERS together, or more."""
    blocks = -(-RESIDUAL_LAYERS // 2 // halvings(size))
    return [Residual(n, normalised=normalised) for _ in range(blocks)]


critic = partial(image_critic, smallest=SMALLEST)
generator = partial(image_generator, smallest=SMALLEST)
plain_generator = partial(plain_image_generator, smallest=SMALLEST)

#: In the order of the paper's figure. As there, the generator with a constant number of filters has
#: no normalisation either.
ARCHITECTURES: dict[str, Architecture] = {
    "baseline": Architecture("baseline", "the baseline", generator, critic),
    "constant": Architecture(
        "constant number\nof filters",
        "a constant number of filters",
        partial(plain_generator, doubled=False),
        critic,
    ),
    "mlp": Architecture("MLP generator", "an MLP generator", fully_connected_generator, critic),
    "plain": Architecture("no normalisation", "no normalisation", plain_generator, critic),
    "tanh": Architecture(
        "tanh in both", "tanh in both", partial(with_tanh, generator), partial(with_tanh, critic)
    ),
    "residual": Architecture(
        "deep residual pair", "the deep residual pair", residual_generator, residual_critic
    ),
}
