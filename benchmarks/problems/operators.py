"""The operators of PyTorch that a critic may contain."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .operator_problem import IMPOSSIBLE, PIECEWISE, SMOOTH, Apply, First, Layer, OpCase


def _overwrite(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0
    return x


def _spectrum(x: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.rfft2(x)).movedim(-1, 1).flatten(1, 2)


def _straight_through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def _sample_image(x: Tensor) -> Tensor:
    grid = torch.linspace(-0.9, 0.9, x.shape[-1], dtype=x.dtype)
    grid = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)


def _sample_volume(x: Tensor) -> Tensor:
    grid = torch.linspace(-0.9, 0.9, x.shape[-1], dtype=x.dtype)
    grid = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij"), -1)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1, -1), align_corners=False)


def _attend(x: Tensor) -> Tensor:
    heads = x.unflatten(2, (4, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


def _cases(
    group: str, kind: str, operators: dict[str, Callable[[], Layer]], dimensions: int = 2
) -> list[OpCase]:
    return [OpCase(group, name, make, kind, dimensions) for name, make in operators.items()]


def _functions(functions: dict[str, Callable[[Tensor], Tensor]]) -> dict[str, Callable[[], Layer]]:
    return {name: lambda function=function: function for name, function in functions.items()}


def _named(*modules: type[nn.Module]) -> dict[str, Callable[[], Layer]]:
    return {module.__name__: module for module in modules}


CASES: list[OpCase] = [
    *_cases(
        "Activations",
        PIECEWISE,
        {
            **_named(nn.ReLU, nn.LeakyReLU, nn.RReLU, nn.PReLU, nn.ReLU6, nn.Hardtanh),
            **_named(nn.Hardshrink, nn.Softshrink),
            "ReLU in place": lambda: nn.ReLU(inplace=True),
            "LeakyReLU in place": lambda: nn.LeakyReLU(0.2, inplace=True),
            "Threshold": lambda: nn.Threshold(0.1, 0.0),
            **_functions(
                {
                    "abs": torch.abs,
                    "clamp": lambda x: x.clamp(-0.5, 0.5),
                    "maximum": lambda x: torch.maximum(x, 0.2 * x),
                    "where": lambda x: torch.where(x > 0, x, 0.2 * x),
                    "maxout": lambda x: x.unflatten(1, (-1, 2)).amax(2),
                    "CReLU": lambda x: torch.cat([x, -x], 1).relu(),
                    "straight-through round": _straight_through,
                }
            ),
        },
    ),
    *_cases(
        "Activations",
        SMOOTH,
        {
            **_named(nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh),
            **_named(nn.Sigmoid, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink, nn.Hardswish),
            "GELU (tanh)": lambda: nn.GELU(approximate="tanh"),
            "GLU": lambda: nn.GLU(1),
            "Softmax": lambda: nn.Softmax(1),
            "LogSoftmax": lambda: nn.LogSoftmax(1),
            **_functions(
                {
                    "square": torch.square,
                    "sqrt": lambda x: (x.abs() + 1).sqrt(),
                    "exp": torch.exp,
                    "sin": torch.sin,
                    "pow": lambda x: x**3,
                    # Linear piece by piece, but PyTorch divides by x, and twice so.
                    "copysign": lambda x: torch.copysign(x, x),
                    "smooth L1": lambda x: F.smooth_l1_loss(
                        x, torch.zeros_like(x), reduction="none"
                    ),
                }
            ),
        },
    ),
    *_cases("Activations", IMPOSSIBLE, _named(nn.Hardsigmoid)),
    *_cases(
        "Pooling",
        PIECEWISE,
        {
            "MaxPool1d": lambda: nn.MaxPool1d(2),
            "AvgPool1d": lambda: nn.AvgPool1d(2),
            "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(5),
            "AdaptiveMaxPool1d": lambda: nn.AdaptiveMaxPool1d(5),
        },
        dimensions=1,
    ),
    *_cases(
        "Pooling",
        PIECEWISE,
        {
            "MaxPool2d": lambda: nn.MaxPool2d(2),
            "MaxPool2d, overlapping": lambda: nn.MaxPool2d(3, 2, 1),
            "AvgPool2d": lambda: nn.AvgPool2d(2),
            "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(5),
            "AdaptiveAvgPool2d(1)": lambda: nn.AdaptiveAvgPool2d(1),
            "AdaptiveMaxPool2d": lambda: nn.AdaptiveMaxPool2d(5),
            "FractionalMaxPool2d": lambda: nn.FractionalMaxPool2d(2, output_ratio=0.5),
            **_functions(
                {
                    "max_unpool2d": lambda x: F.max_unpool2d(
                        *F.max_pool2d(x, 2, return_indices=True), [2, 2]
                    )
                }
            ),
        },
    ),
    *_cases("Pooling", SMOOTH, {"LPPool2d": lambda: nn.LPPool2d(2.0, 2)}),
    *_cases(
        "Pooling",
        PIECEWISE,
        {
            "MaxPool3d": lambda: nn.MaxPool3d(2),
            "AvgPool3d": lambda: nn.AvgPool3d(2),
            "AdaptiveAvgPool3d": lambda: nn.AdaptiveAvgPool3d(3),
            "AdaptiveMaxPool3d": lambda: nn.AdaptiveMaxPool3d(3),
            "FractionalMaxPool3d": lambda: nn.FractionalMaxPool3d(2, output_ratio=0.63),
        },
        dimensions=3,
    ),
    *_cases(
        "Padding",
        PIECEWISE,
        {
            "ReflectionPad1d": lambda: nn.ReflectionPad1d(1),
            "ReplicationPad1d": lambda: nn.ReplicationPad1d(1),
        },
        dimensions=1,
    ),
    *_cases(
        "Padding",
        PIECEWISE,
        {
            "ZeroPad2d": lambda: nn.ZeroPad2d(1),
            "ConstantPad2d": lambda: nn.ConstantPad2d(1, 1.0),
            "CircularPad2d": lambda: nn.CircularPad2d(1),
            "ReflectionPad2d": lambda: nn.ReflectionPad2d(1),
            "ReplicationPad2d": lambda: nn.ReplicationPad2d(1),
        },
    ),
    *_cases(
        "Padding",
        PIECEWISE,
        {
            "ReflectionPad3d": lambda: nn.ReflectionPad3d(1),
            "ReplicationPad3d": lambda: nn.ReplicationPad3d(1),
        },
        dimensions=3,
    ),
    *_cases(
        "Up- and downsampling",
        PIECEWISE,
        {
            "Upsample nearest": lambda: nn.Upsample(scale_factor=2),
            "Upsample nearest-exact": lambda: nn.Upsample(scale_factor=2, mode="nearest-exact"),
            "Upsample bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
            "Upsample bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
            "PixelShuffle": lambda: nn.PixelShuffle(2),
            "PixelUnshuffle": lambda: nn.PixelUnshuffle(2),
            **_functions(
                {
                    "interpolate area": lambda x: F.interpolate(x, size=5, mode="area"),
                    "interpolate antialiased": lambda x: F.interpolate(
                        x, size=5, mode="bilinear", antialias=True
                    ),
                    "grid_sample": _sample_image,
                }
            ),
        },
    ),
    *_cases(
        "Up- and downsampling",
        PIECEWISE,
        {
            "Upsample trilinear": lambda: nn.Upsample(scale_factor=2, mode="trilinear"),
            **_functions({"grid_sample, 3 dimensions": _sample_volume}),
        },
        dimensions=3,
    ),
    *_cases(
        "Dropout",
        PIECEWISE,
        _named(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    ),
    *_cases(
        "Indexing, sorting, reshaping",
        PIECEWISE,
        _functions(
            {
                "index": lambda x: x[:, [0, 0, 1, 2]],
                "index_select": lambda x: x.index_select(1, torch.tensor([0, 0, 1, 2])),
                "gather": lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.long)),
                "assignment in place": _overwrite,
                "masked_fill": lambda x: x.masked_fill(torch.ones(()).bool(), 0.0) + x,
                "roll, flip": lambda x: x.roll(1, 3).flip(2),
                "cat, split": lambda x: torch.cat(x.split(4, 1)[::-1], 1),
                "sort": lambda x: x.sort(1).values,
                "topk": lambda x: x.topk(4, 1).values,
                "max": lambda x: x.max(1, keepdim=True).values,
                "median": lambda x: x.median(1, keepdim=True).values,
                "cumsum": lambda x: x.cumsum(1),
                "unfold, fold": lambda x: F.fold(
                    F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1
                ),
                "L1 norm": lambda x: x.norm(p=1, dim=1, keepdim=True),
                "maximum norm": lambda x: x.norm(p=float("inf"), dim=1, keepdim=True),
            }
        ),
    ),
    *_cases(
        "Products and transforms",
        PIECEWISE,
        _functions({"FFT": _spectrum}),
    ),
    *_cases(
        "Products and transforms",
        SMOOTH,
        _functions(
            {
                "abs of FFT": lambda x: torch.fft.rfft2(x).abs(),
                "Gram matrix by einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x)[..., None],
                "L2 norm": lambda x: x.norm(dim=1, keepdim=True) + x,
                "normalize": F.normalize,
                "cumprod": lambda x: x.cumprod(1),
                "logsumexp": lambda x: x.logsumexp(1, keepdim=True),
                "minibatch deviation": lambda x: x + x.std(0, keepdim=True),
            }
        ),
    ),
    *_cases(
        "Normalisation",
        SMOOTH,
        {
            "GroupNorm": lambda: nn.GroupNorm(4, 16),
            "LayerNorm": lambda: Apply(lambda x: F.layer_norm(x, x.shape[1:])),
            "RMSNorm": lambda: Apply(lambda x: F.rms_norm(x, x.shape[1:])),
            "InstanceNorm2d": lambda: nn.InstanceNorm2d(16, affine=True),
            "BatchNorm2d": lambda: nn.BatchNorm2d(16),
            "LocalResponseNorm": lambda: nn.LocalResponseNorm(3),
        },
    ),
    *_cases("Normalisation", PIECEWISE, {"BatchNorm2d, eval": lambda: nn.BatchNorm2d(16).eval()}),
    *_cases(
        "Sequences",
        SMOOTH,
        {
            "LSTM": lambda: First(nn.LSTM(32, 32, batch_first=True)),
            "GRU": lambda: First(nn.GRU(32, 32, batch_first=True)),
            "RNN": lambda: First(nn.RNN(32, 32, batch_first=True)),
            "scaled_dot_product_attention": lambda: Apply(_attend),
            "MultiheadAttention": lambda: SelfAttention(32, 4, batch_first=True),
            "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(
                32, 4, 64, dropout=0.0, activation="gelu", batch_first=True
            ),
        },
        dimensions=0,
    ),
]
