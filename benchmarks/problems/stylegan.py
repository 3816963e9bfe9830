"""StyleGAN2's critic and R3GAN's: residual blocks that blur an image before they halve it.

Both are smaller than in the papers, and begin with weights of which none is zero: R3GAN's last
convolution of a block does, and a gradient of zeros would show no mistake.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .critics import leaky

#: The side of the last images.
LAST = 4


class Blur(nn.Module):
    """The filter 1, 3, 3, 1 in both directions, for each feature by itself."""

    kernel: Tensor

    def __init__(self, stride: int, padding: int):
        super().__init__()
        self.stride, self.padding = stride, padding
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(line, line)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        features = x.shape[1]
        kernel = self.kernel.expand(features, -1, -1, -1)
        return F.conv2d(x, kernel, stride=self.stride, padding=self.padding, groups=features)


def halving() -> Blur:
    return Blur(stride=2, padding=1)


class GroupedBlock(nn.Module):
    """R3GAN's residual block, that of ResNeXt: wider inside, in groups of features."""

    def __init__(self, width: int, expansion: int = 2, group: int = 16):
        super().__init__()
        inside = expansion * width
        self.body = nn.Sequential(
            nn.Conv2d(width, inside, 1), leaky(),
            nn.Conv2d(inside, inside, 3, padding=1, groups=inside // group), leaky(),
            nn.Conv2d(inside, width, 1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def r3gan(size: int = 32, width: int = 64, blocks: int = 2) -> nn.Sequential:
    """Huang et al. 2025 (arXiv 2501.05441): no normalisation, and depthwise features at the end."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 1, bias=False)]
    before, after = width, 2 * width
    while size > LAST:
        layers += [GroupedBlock(before) for _ in range(blocks)]
        layers += [halving(), nn.Conv2d(before, after, 1, bias=False)]
        before = after
        size //= 2
    layers += [GroupedBlock(before) for _ in range(blocks)]
    last = nn.Conv2d(before, before, LAST, groups=before, bias=False)
    return nn.Sequential(*layers, last, nn.Flatten(), nn.Linear(before, 1, bias=False))


class EqualisedConv2d(nn.Conv2d):
    """Of equalised learning rate (Karras et al. 2018): weights of size one, scaled when called."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scale = equalise(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualisedLinear(nn.Linear):
    """The same of a linear layer."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.scale = equalise(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.scale, self.bias)


def equalise(layer: nn.Conv2d | nn.Linear) -> float:
    """Draws a layer's weights; returns what to multiply them by."""
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return 1 / math.sqrt(layer.weight[0].numel())


class ScaledLeakyReLU(nn.Module):
    """StyleGAN2's activation, which keeps the variance."""

    gain = math.sqrt(2)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2) * self.gain


class StyleBlock(nn.Module):
    """The residual block of StyleGAN2's critic, which halves an image."""

    gain = math.sqrt(0.5)

    def __init__(self, before: int, after: int):
        super().__init__()
        self.body = nn.Sequential(
            EqualisedConv2d(before, before, 3, padding=1), ScaledLeakyReLU(),
            Blur(stride=1, padding=2), EqualisedConv2d(before, after, 3, stride=2),
            ScaledLeakyReLU(),
        )  # fmt: skip
        self.shortcut = nn.Sequential(halving(), EqualisedConv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)) * self.gain


class MinibatchDeviation(nn.Module):
    """One more feature: the mean standard deviation over groups of four samples."""

    group = 4

    def forward(self, x: Tensor) -> Tensor:
        size = min(self.group, len(x))
        grouped = x.unflatten(0, (size, -1))
        deviation = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        feature = deviation.repeat(size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, feature], 1)


def stylegan2(size: int = 64, width: int = 32, *, deviation: bool = True) -> nn.Sequential:
    """Karras et al. 2020 (arXiv 1912.04958), with minibatch standard deviation or without."""
    widths = [min(width << step, 8 * width) for step in range((size // LAST).bit_length())]
    last = widths[-1]
    return nn.Sequential(
        EqualisedConv2d(3, width, 1), ScaledLeakyReLU(),
        *(StyleBlock(before, after) for before, after in pairwise(widths)),
        *([MinibatchDeviation()] if deviation else []),
        EqualisedConv2d(last + deviation, last, 3, padding=1), ScaledLeakyReLU(), nn.Flatten(),
        EqualisedLinear(last * LAST**2, last), ScaledLeakyReLU(), EqualisedLinear(last, 1),
    )  # fmt: skip
