"""Critics as their papers' repositories write them, small: layers, spellings and resampling.

Sources: Karras et al., arXiv 1912.04958 (StyleGAN2), as its PyTorch port and as its authors spell
it; Huang et al., arXiv 2501.05441 (R3GAN); Brock et al., arXiv 1809.11096 (BigGAN);
Miyato and Koyama, arXiv 1802.05637 (projection); Gulrajani et al., arXiv 1704.00028; Karras et al.,
arXiv 1710.10196 (progressive growing); Donahue et al., arXiv 1802.04208 (WaveGAN); Xu et al., arXiv
1907.00503 (CTGAN); Isola et al., arXiv 1611.07004 (PatchGAN).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0])


def filter_2d() -> Tensor:
    kernel = FILTER[None] * FILTER[:, None]
    return kernel / kernel.sum()


def deviation(x: Tensor) -> Tensor:
    """The deviation over the batch, as one more channel."""
    shared = (x.var(0, unbiased=False) + 1e-8).sqrt().mean().view(1, 1, 1, 1)
    return torch.cat([x, shared.repeat(len(x), 1, *x.shape[2:])], 1)


class EqualConv(nn.Module):
    """The weight is scaled at every call; the bias belongs to the activation."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.scale = 1 / math.sqrt(before * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, None, self.stride, self.padding)


class EqualLinear(nn.Module):
    def __init__(self, before: int, after: int, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / rate)
        self.bias, self.rate = nn.Parameter(torch.zeros(after)), rate
        self.scale = rate / math.sqrt(before)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, bias=self.bias * self.rate)


class FusedLeakyReLU(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * (x.dim() - self.bias.dim() - 1)
        bias = self.bias.view(1, self.bias.shape[0], *shape)
        return F.leaky_relu(x + bias, negative_slope=0.2) * math.sqrt(2)


class Blur(nn.Module):
    """``upfirdn2d_native`` of the port: every channel is an image of its own."""

    def __init__(self, pad: tuple[int, int]):
        super().__init__()
        self.register_buffer("kernel", filter_2d())
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        kernel, (before, after) = self.kernel, self.pad
        _, channels, height, width = x.shape
        out = x.reshape(-1, height, width, 1).view(-1, height, 1, width, 1, 1)
        out = F.pad(out, [0, 0, 0, 0, 0, 0, 0, 0]).view(-1, height, width, 1)
        out = F.pad(out, [0, 0, before, after, before, after])
        out = out.permute(0, 3, 1, 2)
        out = out.reshape(-1, 1, height + before + after, width + before + after)
        out = F.conv2d(out, torch.flip(kernel, [0, 1]).view(1, 1, *kernel.shape))
        out = out.reshape(-1, 1, *out.shape[2:]).permute(0, 2, 3, 1)[:, ::1, ::1, :]
        return out.reshape(-1, channels, out.shape[1], out.shape[2])


class StyleBlock(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.main = nn.Sequential(
            EqualConv(before, before, 3, padding=1), FusedLeakyReLU(before),
            Blur((2, 2)), EqualConv(before, after, 3, stride=2), FusedLeakyReLU(after),
        )  # fmt: skip
        self.skip = nn.Sequential(Blur((1, 1)), EqualConv(before, after, 1, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.skip(x)) / math.sqrt(2)


class StyleGAN2(nn.Module):
    def __init__(self, with_deviation: bool = False):
        super().__init__()
        self.blocks = nn.Sequential(
            EqualConv(3, 4, 1), FusedLeakyReLU(4), StyleBlock(4, 6), StyleBlock(6, 6)
        )
        self.with_deviation = with_deviation
        self.last = nn.Sequential(
            EqualConv(7 if with_deviation else 6, 6, 3, padding=1), FusedLeakyReLU(6),
            nn.Flatten(), EqualLinear(6 * 16, 8), FusedLeakyReLU(8), EqualLinear(8, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(x)
        return self.last(deviation(h) if self.with_deviation else h)


class BiasAct(nn.Module):
    """``bias_act`` of StyleGAN2's and 3's authors: bias, activation, gain, clamp."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.bias.reshape([-1 if i == 1 else 1 for i in range(x.ndim)])
        return (F.leaky_relu(x, 0.2) * math.sqrt(2)).clamp(-1.5, 1.5)


class Filtered(nn.Module):
    """``upfirdn2d`` of the authors, depthwise, and every second pixel."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("filter", filter_2d()[None, None].repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.reshape([batch, channels, height, 1, width, 1])
        x = F.pad(x, [0, 0, 0, 0, 0, 0]).reshape([batch, channels, height, width])
        x = F.pad(x, [1, 1, 1, 1])
        return F.conv2d(input=x, weight=self.filter, groups=channels)[:, :, ::2, ::2]


class Projected(nn.Module):
    """StyleGAN3's critic, whose score is a product with the mapped label."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            EqualConv(3, 4, 1), BiasAct(4), EqualConv(4, 4, 3, padding=1), BiasAct(4), Filtered(4),
            EqualConv(4, 6, 3, padding=1), BiasAct(6), nn.Flatten(), EqualLinear(6 * 64, 8),
        )  # fmt: skip
        self.mapping = nn.Sequential(EqualLinear(3, 8), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        label = self.mapping(F.one_hot(torch.arange(len(x)) % 3, 3).to(x.dtype))
        label = label * (label.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        return (self.main(x) * label).sum(dim=1, keepdim=True) * (1 / math.sqrt(8))


class BiasedActivation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.to(x.dtype).view(1, -1, 1, 1), 0.2)


class ResidualR3(nn.Module):
    """A bottleneck of grouped convolutions, which starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.grouped = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2, bias=False)
        self.last = nn.Conv2d(2 * channels, channels, 1, bias=False)
        nn.init.zeros_(self.last.weight)
        self.before, self.after = BiasedActivation(2 * channels), BiasedActivation(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(self.before(self.first(x)))
        return x + self.last(self.after(y))


class Downsampled(nn.Module):
    """R3GAN's interpolating downsampling: every channel is an image of its own."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.register_buffer("kernel", filter_2d()[None, None])
        self.layer = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        batch, channels, height, width = x.shape
        rows = x.view(batch * channels, 1, height, width)
        y = F.conv2d(rows, self.kernel.to(x.dtype), stride=2, padding=1)
        return y.view(batch, channels, y.shape[2], y.shape[3])


class R3GAN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 4, 1, bias=False), ResidualR3(4), ResidualR3(4), Downsampled(4, 6),
            ResidualR3(6), Downsampled(6, 6), ResidualR3(6),
        )  # fmt: skip
        self.basis = nn.Conv2d(6, 6, 4, groups=6, bias=False)
        self.linear, self.classes = nn.Linear(6, 4, bias=False), nn.Embedding(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.linear(self.basis(self.main(x)).view(len(x), -1))
        label = self.classes(torch.arange(len(x)) % 3)
        return (features * label).sum(dim=1, keepdim=True).view(len(x))


class SpectralBlock(nn.Module):
    """SNGAN's and BigGAN's: activation first, and the shortcut's pooling where it is cheaper."""

    def __init__(self, before: int, after: int, first: bool = False):
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(before, after, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(before, after, 1))
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        h = F.avg_pool2d(h, 2)
        if self.first:
            return h + self.shortcut(F.avg_pool2d(x, 2))
        return h + F.avg_pool2d(self.shortcut(x), 2)


class SpectralProjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(SpectralBlock(3, 4, first=True), SpectralBlock(4, 6))
        self.linear = spectral_norm(nn.Linear(6, 1))
        self.classes = spectral_norm(nn.Embedding(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sum(F.relu(self.blocks(x), inplace=True), dim=(2, 3))
        output = self.linear(h)
        output += torch.sum(self.classes(torch.arange(len(x)) % 3) * h, dim=1, keepdim=True)
        return output


class MeanPool(nn.Module):
    """The mean of four pixels, as their sum (WGAN-GP's own code and its ports)."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            sum([x[:, :, ::2, ::2], x[:, :, 1::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2]])
            / 4
        )


class Progressive(nn.Module):
    """Progressive growing, while a resolution fades in."""

    def __init__(self, alpha: float = 0.3):
        super().__init__()
        self.from_rgb, self.from_small = EqualConv(3, 4, 1), EqualConv(3, 6, 1)
        self.block = nn.Sequential(
            FusedLeakyReLU(4), EqualConv(4, 6, 3, padding=1), FusedLeakyReLU(6), nn.AvgPool2d(2)
        )
        self.last = nn.Sequential(FusedLeakyReLU(6), EqualConv(6, 1, 8))
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        small = self.from_small(F.interpolate(x, scale_factor=0.5, mode="nearest"))
        faded = (1 - self.alpha) * small + self.alpha * self.block(self.from_rgb(x))
        return self.last(faded).squeeze()


class PhaseShuffle(nn.Module):
    """WaveGAN's: a shift by a few samples, mirrored at the end."""

    def forward(self, x: Tensor) -> Tensor:
        shift = int(torch.randint(-2, 3, (1,)))
        if shift > 0:
            return F.pad(x[..., :-shift], (shift, 0), mode="reflect")
        return F.pad(x[..., -shift:], (0, -shift), mode="reflect") if shift else x


def wavegan() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(1, 4, 25, stride=4, padding=11), nn.LeakyReLU(0.2), PhaseShuffle(),
        nn.Conv1d(4, 6, 25, stride=4, padding=11), nn.LeakyReLU(0.2), PhaseShuffle(),
        nn.Flatten(), nn.Linear(6 * 16, 1),
    )  # fmt: skip


def wgan_gp_resnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), MeanPool(),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 1), nn.Flatten(0),
    )  # fmt: skip


def ctgan() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(5, 8), nn.LeakyReLU(0.2), nn.Dropout(0.5),
        nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(8, 1),
    )  # fmt: skip


def patch_gan() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(4, 1, 4, 1, 1)
    )


class WithAttention(nn.Module):
    """SAGAN's: attention whose factor is zero at first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 4, 4), nn.Linear(4 * 16, 1)
        self.query, self.key, self.value = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(x), 0.2)
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        attended = torch.bmm(v, torch.softmax(torch.bmm(q.transpose(1, 2), k), -1).transpose(1, 2))
        return self.last((self.gamma * attended.view_as(x) + x).flatten(1))


PICTURE = (3, 16, 16)
SHARED = "shared backward"

#: How each is built, the shape of a sample, and how the way begins that its scores take.
PUBLISHED = {
    "StyleGAN2, the port": (StyleGAN2, PICTURE, SHARED),
    "StyleGAN2 with deviation": (
        lambda: StyleGAN2(True), PICTURE, "shared forward: RepeatBackward0 is not known"
    ),
    "StyleGAN3": (Projected, PICTURE, SHARED),
    "R3GAN": (R3GAN, PICTURE, SHARED),
    "SNGAN projection": (SpectralProjection, PICTURE, SHARED),
    "WGAN-GP ResNet": (wgan_gp_resnet, PICTURE, SHARED),
    "progressive growing": (Progressive, PICTURE, SHARED),
    "WaveGAN": (wavegan, (1, 256), SHARED),
    "CTGAN": (ctgan, (5,), SHARED),
    "PatchGAN": (patch_gan, PICTURE, "shared forward: scores of shape [4, 1, 7, 7] are not one"),
    "SAGAN": (
        WithAttention, PICTURE, "shared forward: BmmBackward0 is not known to be linear"
    ),
}  # fmt: skip
