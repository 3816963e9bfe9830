"""Critics of every kind that people train, for the tests to compare penalties on.

    for case in CRITICS:
        module, critic = case.make()           # seeded: the same weights every time
        real, fake = case.samples()            # float64, [batch, *case.shape]
        penalty = fast_gradient_penalty(critic, real, fake, **case.arguments())
        penalty.backward()                     # reaches module.parameters()

Most of a critic is a line of layers; the few with a forward pass of their own are in
``tests.critic_modules``.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from tests.critic_modules import (
    Attention,
    Checkpointed,
    Conditional,
    EqualisedLinear,
    Functional,
    Pac,
    Powers,
    ProjectionCritic,
    Recurrent,
    ResidualBlock,
    Scaled,
    Shared,
    TokenCritic,
    WithUnused,
)
from tests.textbook import textbook_gradient_penalty

Critic = Callable[..., Tensor]


@dataclass(frozen=True)
class CriticCase:
    """One critic with everything it takes to call it.

    Args:
        name: names the test.
        build: makes the module; its weights are drawn under a seed of its own.
        shape: the shape of one sample.
        batch: how many samples make a batch.
        wrap: makes of the module what the user hands over as ``critic``.
        labels: where class labels go: "args", "kwargs", or nowhere.
        batch_dependent: whether a sample's score depends on more than that sample (on the others,
            or on how often the critic was called), so that the batch may not be sliced.
        train: whether it is compared in training mode.
        fused_attention: whether PyTorch's own double backward refuses it.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int = 4
    wrap: Callable[[nn.Module], Critic] = lambda module: module
    labels: str | None = None
    batch_dependent: bool = False
    train: bool = True
    fused_attention: bool = False

    def make(self, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Critic]:
        """The module, with the same weights every time, and the critic that calls it.

        Scores are scaled so that the gradient norms lie on both sides of 1: otherwise a one-sided
        penalty would be zero, and prove nothing.
        """
        module = Scaled(self._seeded(), _scale_of(self)).to(dtype).train(self.train)
        return module, self.wrap(module)

    def _seeded(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(self.name.encode()))
            return self.build()

    def samples(self, batch: int | None = None, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """``[real, fake]``, the same every time."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()) + 1)
        shape = (2, batch or self.batch, *self.shape)
        return list(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))

    def epsilon(self, batch: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        """Mixing factors, ``[batch]``, the same every time."""
        generator = torch.Generator().manual_seed(7)
        return torch.rand(batch or self.batch, generator=generator, dtype=torch.float64).to(dtype)

    def arguments(self, batch: int | None = None) -> dict[str, Any]:
        """What the critic takes besides the samples, as the penalty is told it."""
        labels = torch.arange(batch or self.batch) % 3
        if self.labels == "args":
            return {"critic_args": (labels,)}
        if self.labels == "kwargs":
            return {"critic_kwargs": {"labels": labels}}
        return {}


@functools.cache
def _scale_of(case: CriticCase) -> float:
    module = case._seeded().double().train(case.train)
    _, norms = textbook_gradient_penalty(
        case.wrap(module),
        *case.samples(),
        epsilon=case.epsilon(),
        return_norms=True,
        **case.arguments(),
    )
    all_equal = norms.max() < 1.000001 * norms.min()
    return (2.0 if all_equal else 1.0) / norms.mean().item()


def mlp(activation: Callable[[], nn.Module], size: int = 5, width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, width), activation(), nn.Linear(width, width), activation(),
        nn.Linear(width, 1),
    )  # fmt: skip


def conv_net(
    activation: Callable[[], nn.Module] = lambda: nn.LeakyReLU(0.2),
    norm: Callable[[int], nn.Module] = lambda channels: nn.Identity(),
    layer: Callable[[nn.Module], nn.Module] = lambda module: module,
) -> nn.Sequential:
    """The critic of DCGAN on 3x8x8 images: strided 4x4 convolutions."""
    return nn.Sequential(
        layer(nn.Conv2d(3, 6, 4, 2, 1)), activation(),
        layer(nn.Conv2d(6, 8, 4, 2, 1, bias=False)), norm(8), activation(),
        nn.Flatten(), layer(nn.Linear(8 * 2 * 2, 1)),
    )  # fmt: skip


def pooled(pool: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), pool(), nn.Conv2d(5, 4, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(1),
    )  # fmt: skip


def built(net: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A net with lazy layers, shown its first batch."""
    net(torch.zeros(2, *shape))
    return net


def frozen(net: nn.Module, but: str | None = None) -> nn.Module:
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name == but)
    return net


def inplace_leaky_relu() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def resnet() -> nn.Sequential:
    """The critic of WGAN-GP's CIFAR-10 experiments: mean pooling, no normalisation."""
    return nn.Sequential(
        ResidualBlock(3, 6, down=True), ResidualBlock(6, 6, down=True), ResidualBlock(6, 6),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1),
    )  # fmt: skip


def patch_gan() -> nn.Sequential:
    """Scores ``[B, 1, h, w]``, one for each patch."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(6, 6, 3, 1, 1, bias=False),
        nn.InstanceNorm2d(6), nn.LeakyReLU(0.2), nn.Conv2d(6, 1, 3, 1, 1),
    )  # fmt: skip


def conv1d() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, stride=2, padding=2), nn.LeakyReLU(0.2),
        nn.Conv1d(6, 6, 3, dilation=2, groups=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1),
    )  # fmt: skip


def conv3d() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv3d(4, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(1),
    )  # fmt: skip


def transposed() -> nn.Sequential:
    """An encoder-decoder: a score for each pixel."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(3, 1, 1),
    )  # fmt: skip


IMAGE = (3, 8, 8)
SMALL = (2, 8, 8)
VECTOR = (5,)
SEQUENCE = (6, 4)

CRITICS = [
    CriticCase("linear", lambda: nn.Linear(5, 1), VECTOR),
    CriticCase("numbers", Powers, ()),
    CriticCase("mlp_relu", lambda: mlp(nn.ReLU), VECTOR, batch=7),
    CriticCase("mlp_leaky_relu_inplace", lambda: mlp(inplace_leaky_relu), VECTOR),
    CriticCase("mlp_relu6_hardtanh", lambda: mlp(nn.ReLU6).append(nn.Hardtanh(-9, 9)), VECTOR),
    CriticCase("mlp_tanh", lambda: mlp(nn.Tanh), VECTOR),
    CriticCase("mlp_silu", lambda: mlp(nn.SiLU), VECTOR),
    CriticCase("mlp_softplus", lambda: mlp(nn.Softplus), VECTOR),
    CriticCase("mlp_gelu", lambda: mlp(nn.GELU), VECTOR),
    CriticCase("mlp_elu", lambda: mlp(nn.ELU), VECTOR),
    CriticCase("mlp_prelu", lambda: mlp(nn.PReLU), VECTOR),
    CriticCase("mlp_layer_norm", lambda: mlp(lambda: nn.Sequential(nn.LayerNorm(16), nn.ReLU())),
               VECTOR),
    CriticCase("mlp_flat_scores", lambda: mlp(nn.ReLU).append(nn.Flatten(0)), VECTOR),
    CriticCase("dropout_in_eval", lambda: mlp(lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.5))),
               VECTOR, train=False),
    CriticCase("batch_norm_in_eval", lambda: conv_net(norm=nn.BatchNorm2d), IMAGE, train=False),
    CriticCase("dcgan", conv_net, IMAGE),
    CriticCase("dcgan_inplace", lambda: conv_net(inplace_leaky_relu), IMAGE),
    CriticCase("dcgan_smooth", lambda: conv_net(nn.SiLU), IMAGE),
    CriticCase("dcgan_spectral_norm", lambda: conv_net(layer=spectral_norm), IMAGE,
               batch_dependent=True),
    CriticCase("dcgan_spectral_norm_in_eval", lambda: conv_net(layer=spectral_norm), IMAGE,
               train=False),
    CriticCase("dcgan_weight_norm", lambda: conv_net(layer=weight_norm), IMAGE),
    CriticCase("dcgan_layer_norm", lambda: conv_net(norm=lambda _: nn.LayerNorm([8, 2, 2])), IMAGE),
    CriticCase("dcgan_instance_norm",
               lambda: conv_net(norm=lambda c: nn.InstanceNorm2d(c, affine=True)), IMAGE),
    CriticCase("dcgan_group_norm", lambda: conv_net(norm=lambda c: nn.GroupNorm(2, c)), IMAGE),
    CriticCase("resnet_mean_pooling", resnet, IMAGE),
    CriticCase("patch_gan", patch_gan, IMAGE),
    CriticCase("conv_1d", lambda: built(conv1d(), (2, 20)), (2, 20)),
    CriticCase("conv_3d", lambda: built(conv3d(), (1, 6, 6, 6)), (1, 6, 6, 6)),
    CriticCase("conv_transposed", transposed, SMALL),
    CriticCase("max_pooling", lambda: built(pooled(lambda: nn.MaxPool2d(2)), SMALL), SMALL),
    CriticCase("average_pooling", lambda: built(pooled(lambda: nn.AvgPool2d(2)), SMALL), SMALL),
    CriticCase("adaptive_max_pooling",
               lambda: built(pooled(lambda: nn.AdaptiveMaxPool2d(3)), SMALL), SMALL),
    CriticCase("adaptive_average_pooling",
               lambda: built(pooled(lambda: nn.AdaptiveAvgPool2d(3)), SMALL), SMALL),
    CriticCase("padding_and_upsampling",
               lambda: built(pooled(lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Upsample(
                   scale_factor=2, mode="bilinear"), nn.ReplicationPad2d(1))), SMALL), SMALL),
    CriticCase("equalised_learning_rate", lambda: nn.Sequential(
        EqualisedLinear(5, 16), nn.LeakyReLU(0.2), EqualisedLinear(16, 1)), VECTOR),
    CriticCase("projection_labels_in_kwargs", ProjectionCritic, IMAGE, labels="kwargs"),
    CriticCase("conditional_labels_in_args", Conditional, VECTOR, labels="args"),
    CriticCase("embedding", TokenCritic, SEQUENCE),
    CriticCase("attention", lambda: Attention("module"), SEQUENCE, fused_attention=True),
    CriticCase("attention_functional", lambda: Attention("functional"), SEQUENCE,
               fused_attention=True),
    CriticCase("lstm", lambda: Recurrent(nn.LSTM), SEQUENCE),
    CriticCase("gru", lambda: Recurrent(nn.GRU), SEQUENCE),
    CriticCase("weight_sharing", Shared, VECTOR),
    CriticCase("frozen_parameters",
               lambda: nn.Sequential(frozen(mlp(nn.ReLU)[:2]), *mlp(nn.Tanh)[2:]), VECTOR),
    CriticCase("frozen_but_one", lambda: frozen(conv_net(), but="2.weight"), IMAGE),
    CriticCase("frozen_all", lambda: frozen(conv_net()), IMAGE),
    CriticCase("unused_parameters", WithUnused, VECTOR),
    CriticCase("checkpointed", Checkpointed, VECTOR),
    CriticCase("pac", lambda: Pac(mlp(nn.ReLU, size=10)), VECTOR, batch_dependent=True),
    CriticCase("functional", Functional, IMAGE),
    CriticCase("batch_first_last", lambda: mlp(nn.ReLU), VECTOR, batch=1),
    CriticCase("lambda", lambda: mlp(nn.ReLU), VECTOR, wrap=lambda net: lambda x: 3 * net(x) - 1),
    CriticCase("partial", Conditional, VECTOR,
               wrap=lambda net: functools.partial(net, labels=torch.tensor([1]))),
    CriticCase("bound_method", conv_net, IMAGE, wrap=lambda net: net.forward),
]  # fmt: skip

NAMED = {case.name: case for case in CRITICS}
