"""The critics of ``tests.critics`` that have a forward pass of their own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Powers(nn.Module):
    """Samples that are single numbers, ``[B]``."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.weights
        return a * x + b * x**2 + c * x**3


class Scaled(nn.Module):
    """A critic whose scores are multiplied by a number."""

    def __init__(self, critic: nn.Module, scale: float):
        super().__init__()
        self.critic = critic
        self.scale = scale

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.scale * self.critic(*args, **kwargs)


class ResidualBlock(nn.Module):
    def __init__(self, before: int, after: int, down: bool = False):
        super().__init__()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.shortcut = nn.Conv2d(before, after, 1)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.second(F.relu(self.first(F.relu(x))))) + self.shortcut(self.pool(x))


class EqualisedLinear(nn.Module):
    """The weight is scaled anew at every call (progressive growing, StyleGAN)."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (2 / self.weight.shape[1]) ** 0.5, self.bias)


class ProjectionCritic(nn.Module):
    """Miyato and Koyama's conditional critic: the label's embedding times the features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(6, 8, 4, 2, 1), nn.ReLU()
        )
        self.score = nn.Linear(8, 1)
        self.classes = nn.Embedding(3, 8)

    def forward(self, x: Tensor, *, labels: Tensor) -> Tensor:
        features = self.features(x).sum((2, 3))
        return self.score(features) + (self.classes(labels) * features).sum(1, keepdim=True)


class Conditional(nn.Module):
    """The label's embedding is appended to the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(3, 4)
        self.net = nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        given = self.classes(labels).expand(len(x), -1)
        return self.net(torch.cat([x, given], 1))


class TokenCritic(nn.Module):
    """Soft one-hot tokens times an embedding matrix, and a position embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(4, 8)
        self.positions = nn.Embedding(6, 8)
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.softmax(2) @ self.tokens.weight + self.positions(torch.arange(6))
        return self.score(F.relu(hidden).mean(1))


class Attention(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.enter = nn.Linear(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.score = nn.Linear(8, 1)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        if self.kind == "module":
            h = h + self.attention(h, h, h, need_weights=False)[0]
        else:
            packed = F.linear(h, self.attention.in_proj_weight).unflatten(2, (3, 2, 4))
            q, k, v = packed.permute(2, 0, 3, 1, 4)  # [3, batch, heads, length, size]
            h = h + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.score(F.leaky_relu(h, 0.1).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]):
        super().__init__()
        self.net = kind(4, 6, batch_first=True)
        self.score = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.net(x)
        return self.score(states[:, -1])


class Shared(nn.Module):
    """One layer, used three times, the last time transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.layer(F.leaky_relu(self.layer(x), 0.2)))
        return F.linear(h, self.layer.weight.t()).sum(1, keepdim=True)


class WithUnused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
        self.unused = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Checkpointed(nn.Module):
    """Blocks that are computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.first, x, use_reentrant=False)
        return checkpoint(self.second, h, use_reentrant=False)


class Pac(nn.Module):
    """PacGAN: samples are judged in pairs, and each gets the score of its pair."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.reshape(len(x) // 2, -1)).repeat_interleave(2, 0)


class Functional(nn.Module):
    """Weights as bare parameters and everything else as functions and indexing."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3) / 5)
        self.mixing = nn.Parameter(torch.randn(4, 4) / 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv2d(x, self.kernel, padding=1)
        h = torch.einsum("bchw,cd->bdhw", h, self.mixing).abs()
        h = torch.where(h > 0.5, h, h**2 / 2)[:, :, 1:-1].clamp(max=4)
        return h.flatten(1).logsumexp(1) + torch.fft.rfft(h.mean((1, 2))).abs().sum(1)
