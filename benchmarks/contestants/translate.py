"""PyTorch modules as JAX functions of the same weights, in the same layouts.

``translate(module)(weights, x, *args)`` computes what ``module(x, *args)`` does; ``weights`` are by
their names in ``module.named_parameters()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from torch import nn

from ..problems import critics, stylegan
from . import UnavailableError

Weights = dict[str, Any]
Apply = Callable[..., Any]


def translate(module: nn.Module) -> Apply:
    """Raises UnavailableError for a module that has no translation here."""
    rule = RULES.get(type(module))
    if rule is None:
        raise UnavailableError(f"{type(module).__name__} is not translated to JAX here")
    return rule(module)


def _children(module: nn.Module) -> dict[str, Apply]:
    return {name: _within(name, translate(child)) for name, child in module.named_children()}


def _within(name: str, apply: Apply) -> Apply:
    def call(weights: Weights, *args: Any) -> Any:
        start = name + "."
        own = {k.removeprefix(start): w for k, w in weights.items() if k.startswith(start)}
        return apply(own, *args)

    return call


def _sequential(module: nn.Module) -> Apply:
    children = list(_children(module).values())

    def apply(weights: Weights, x: Any) -> Any:
        for child in children:
            x = child(weights, x)
        return x

    return apply


def _linear(module: nn.Module) -> Apply:
    return lambda weights, x: x @ weights["weight"].T + weights.get("bias", 0)


def _convolution(module: Any) -> Apply:
    spatial = "DHW"[3 - len(module.kernel_size) :]
    dimensions = ("NC" + spatial, "OI" + spatial, "NC" + spatial)
    padding = [(pad, pad) for pad in module.padding]

    def apply(weights: Weights, x: Any) -> Any:
        out = lax.conv_general_dilated(
            x,
            weights["weight"],
            module.stride,
            padding,
            dimension_numbers=dimensions,
            feature_group_count=module.groups,
        )
        bias = weights.get("bias")
        return out if bias is None else out + bias.reshape(-1, *[1] * len(spatial))

    return apply


def _leaky_relu(module: Any) -> Apply:
    return lambda weights, x: jnp.where(x > 0, x, module.negative_slope * x)


def _scaled_leaky_relu(module: Any) -> Apply:
    return lambda weights, x: jnp.where(x > 0, x, 0.2 * x) * module.gain


def _average_pool(module: Any) -> Apply:
    k = module.kernel_size

    def apply(weights: Weights, x: Any) -> Any:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // k, k, w // k, k).mean((3, 5))

    return apply


def _normalise(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _layer_norm(module: Any) -> Apply:
    axes = tuple(range(-len(module.normalized_shape), 0))
    return lambda weights, x: _normalise(x, axes, module.eps) * weights["weight"] + weights["bias"]


def _group_norm(module: Any) -> Apply:
    """Group normalisation; instance normalisation is the case of one feature a group."""

    def apply(weights: Weights, x: Any) -> Any:
        groups = getattr(module, "num_groups", x.shape[1])
        grouped = x.reshape(len(x), groups, -1)
        whitened = _normalise(grouped, (2,), module.eps).reshape(x.shape)
        return whitened * weights["weight"][:, None, None] + weights["bias"][:, None, None]

    return apply


def _residual_block(module: nn.Module) -> Apply:
    parts = _children(module)

    def apply(weights: Weights, x: Any) -> Any:
        hidden = parts["first"](weights, jax.nn.relu(x))
        hidden = parts["second"](weights, jax.nn.relu(hidden))
        shortcut = parts["shortcut"](weights, parts["pool"](weights, x))
        return parts["pool"](weights, hidden) + shortcut

    return apply


def _projection(module: Any) -> Apply:
    features, score = (
        _within(name, translate(getattr(module, name))) for name in ("features", "score")
    )

    def apply(weights: Weights, x: Any, labels: Any) -> Any:
        hidden = features(weights, x).sum((2, 3))
        of_class = weights["classes.weight"][labels]
        return score(weights, hidden) + (of_class * hidden).sum(1, keepdims=True)

    return apply


def _grouped_block(module: Any) -> Apply:
    body = _children(module)["body"]
    return lambda weights, x: x + body(weights, x)


def _blur(module: Any) -> Apply:
    kernel, strides = jnp.asarray(module.kernel.cpu().numpy()), [module.stride] * 2
    padding = [(module.padding, module.padding)] * 2

    def apply(weights: Weights, x: Any) -> Any:
        features = x.shape[1]
        kernels = jnp.tile(kernel, (features, 1, 1, 1))
        return lax.conv_general_dilated(
            x, kernels, strides, padding, feature_group_count=features,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )  # fmt: skip

    return apply


def _equalised(rule: Callable[[Any], Apply]) -> Callable[[Any], Apply]:
    """The rule of a layer whose weights are scaled first."""

    def of(module: Any) -> Apply:
        apply, scale = rule(module), module.scale
        return lambda weights, x: apply(weights | {"weight": weights["weight"] * scale}, x)

    return of


def _style_block(module: Any) -> Apply:
    parts, gain = _children(module), module.gain
    return lambda weights, x: (parts["body"](weights, x) + parts["shortcut"](weights, x)) * gain


def _minibatch_deviation(module: Any) -> Apply:
    def apply(weights: Weights, x: Any) -> Any:
        size = min(module.group, len(x))
        grouped = x.reshape(size, -1, *x.shape[1:])
        deviation = jnp.sqrt(grouped.var(0) + 1e-8).mean((1, 2, 3))
        feature = jnp.tile(deviation, size).reshape(-1, 1, 1, 1)
        return jnp.concatenate([x, jnp.broadcast_to(feature, (len(x), 1, *x.shape[2:]))], 1)

    return apply


RULES: dict[type[nn.Module], Callable[[nn.Module], Apply]] = {
    nn.Sequential: _sequential,
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ReLU: lambda module: lambda weights, x: jax.nn.relu(x),
    nn.LeakyReLU: _leaky_relu,
    nn.SiLU: lambda module: lambda weights, x: jax.nn.silu(x),
    nn.Identity: lambda module: lambda weights, x: x,
    nn.Flatten: lambda module: lambda weights, x: x.reshape(len(x), -1),
    nn.AvgPool2d: _average_pool,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm2d: _group_norm,
    critics.ResidualBlock: _residual_block,
    critics.Projection: _projection,
    stylegan.Blur: _blur,
    stylegan.EqualisedConv2d: _equalised(_convolution),
    stylegan.EqualisedLinear: _equalised(_linear),
    stylegan.GroupedBlock: _grouped_block,
    stylegan.MinibatchDeviation: _minibatch_deviation,
    stylegan.ScaledLeakyReLU: _scaled_leaky_relu,
    stylegan.StyleBlock: _style_block,
}
