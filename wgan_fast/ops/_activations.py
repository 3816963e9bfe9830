"""The derivatives of smooth activations, in plain PyTorch: for a newcomer to read.

Each function returns f', f'' and f''' at ``x``, computed without a difference that loses the tails.
They can be differentiated themselves, to any order. ``csrc/common/activations.h`` has the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Derivatives = tuple[Tensor, Tensor, Tensor]


def _logistic(x: Tensor) -> tuple[Tensor, Tensor]:
    """The logistic function s(x), and s(-x) = 1 - s(x), which keeps its digits where s(x) is 1.

    Both come from one exponential, exp(-|x|): it takes most of the time where this is compiled.
    """
    negative = x < 0
    decay = torch.exp(torch.where(negative, x, -x))  # not abs(), which has no slope at 0
    large = 1 / (1 + decay)
    small = decay * large
    return torch.where(negative, small, large), torch.where(negative, large, small)


def _lean(x: Tensor) -> Tensor:
    """s(x) - s(-x), where that would lose its digits: around 0."""
    return torch.tanh(x / 2)


def _silu(x: Tensor) -> Derivatives:
    x = x.clamp(-800, 800)  # no infinity times zero; nothing changes beyond
    s, rest = _logistic(x)
    slope = s * rest
    third = slope * (x * (1 - 6 * slope) - 3 * _lean(x))
    return s * (1 + x * rest), slope * (2 - x * (s - rest)), third


def _gelu(x: Tensor) -> Derivatives:
    x = x.clamp(-40, 40)
    density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    below = torch.special.erfc(-x / math.sqrt(2)) / 2
    return below + x * density, density * (2 - x * x), density * x * (x * x - 4)


def _gelu_tanh(x: Tensor) -> Derivatives:
    x = x.clamp(-22, 22)
    scale = 2 * math.sqrt(2 / math.pi)
    cubic = 0.044715 * scale
    v = x * (scale + cubic * x * x)
    (s, rest), lean = _logistic(v), _lean(v)
    v1, v2, v3 = scale + 3 * cubic * x * x, 6 * cubic * x, 6 * cubic
    slope = s * rest
    g2 = v2 - lean * v1 * v1  # the derivatives of s(v) with respect to x, over s'(v)
    g3 = v3 + v1 * (v1 * v1 * (1 - 6 * slope) - 3 * lean * v2)
    return s * (1 + x * v1 * rest), slope * (2 * v1 + x * g2), slope * (3 * g2 + x * g3)


def _softplus(x: Tensor, beta: float, threshold: float) -> Derivatives:
    z = beta * x
    s, rest = _logistic(z)
    slope = (beta * s * rest).masked_fill(z >= threshold, 0)
    return s.masked_fill(z > threshold, 1), slope, -beta * slope * _lean(z)


def _tanh(y: Tensor) -> Derivatives:
    return (1 - y) * (1 + y), -2 * y, torch.full_like(y, -2)


def _sigmoid(y: Tensor) -> Derivatives:
    return y * (1 - y), 1 - 2 * y, torch.full_like(y, -2)


def _elu(x: Tensor, alpha: float, scale: float, input_scale: float) -> Derivatives:
    # Not where(): a gradient of the side that is not taken would be infinity times zero.
    grown = alpha * scale * input_scale * torch.exp(input_scale * x.clamp(max=0))
    bent = (input_scale * grown).masked_fill(x >= 0, 0)
    return grown.masked_fill(x > 0, scale), bent, input_scale * bent


def _mish(x: Tensor) -> Derivatives:
    x = x.clamp(-800, 800)
    s, m = _logistic(x)
    square = m * m
    r = 1 / (1 + square)
    w1 = 4 * square * s * r * r
    b = m - 2 * s + m * square + 2 * square * s
    w2 = w1 * r * b
    b1 = -m * s * (3 + m * (m + 4 * s))
    w3 = w1 * r * ((m - 2 * s + 6 * square * s * r) * b + b1)
    return s * (1 + m) * r + x * w1, 2 * w1 + x * w2, 3 * w2 + x * w3


def _hardswish(x: Tensor) -> Derivatives:
    inside = ~((x <= -3) | (x >= 3))  # NaN, too
    first = torch.where(inside, x / 3 + 0.5, (x > 0).to(x.dtype))
    return first, inside.to(x.dtype) / 3, torch.zeros_like(x)


def _log_sigmoid(x: Tensor) -> Derivatives:
    s, rest = _logistic(x)
    return rest, -s * rest, s * rest * _lean(x)


def _softsign(x: Tensor) -> Derivatives:
    q = 1 / (1 + x.abs())
    return q**2, -2 * x.sign() * q**3, 6 * q**4


@dataclass(frozen=True)
class Activation:
    """An activation as the operators know it.

    Args:
        derivatives: f', f'' and f''' at x and the parameters. Where ``of_output``, at y = f(x):
            then f' is a function of y, and f'' and f''' are the derivatives of that function.
        parameters: the names of the parameters, in order.
        example: values for them, for tests and benchmarks.
        of_output: whether x is the activation's output, not its input. PyTorch keeps no more of
            tanh and sigmoid.
    """

    derivatives: Callable[..., Derivatives]
    parameters: tuple[str, ...] = ()
    example: tuple[float, ...] = ()
    of_output: bool = False


#: By the name that the operators are given.
ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(_silu),
    "gelu": Activation(_gelu),
    "gelu_tanh": Activation(_gelu_tanh),
    "softplus": Activation(_softplus, ("beta", "threshold"), (1.5, 2.0)),
    "tanh": Activation(_tanh, of_output=True),
    "sigmoid": Activation(_sigmoid, of_output=True),
    "elu": Activation(_elu, ("alpha", "scale", "input_scale"), (1.3, 0.9, 0.7)),
    "mish": Activation(_mish),
    "hardswish": Activation(_hardswish),
    "log_sigmoid": Activation(_log_sigmoid),
    "softsign": Activation(_softsign),
}
