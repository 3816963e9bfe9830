"""activation_gradients: the second order of smooth activations, and the third."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.ops.layouts import Layout, samples
from tests.ops.textbook import (
    SECOND_ORDER,
    Expected,
    Known,
    Wide,
    compute_dtype,
    exact,
    storage,
    unit,
)

#: The roundings that a derivative goes through, one behind the other, in the longest formula.
ROUNDINGS = 32
PI = np.longdouble("3.14159265358979323846264338327950288")


def sigmoid(x: Wide) -> Wide:
    e = np.exp(-abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


def normal_tail(a: Wide) -> Wide:
    """The share of the normal distribution beyond a >= 0: its series, and its continued fraction.

    Abramowitz and Stegun, "Handbook of mathematical functions", 26.2.11 and 26.2.14.
    """
    density = np.exp(-a * a / 2) / np.sqrt(2 * PI)
    near, far = np.minimum(a, 3), np.maximum(a, 3)
    term = series = near
    for n in range(3, 121, 2):
        term = term * near * near / n
        series = series + term
    fraction = 0 * far
    for n in range(100, 0, -1):
        fraction = n / (far + fraction)
    return np.where(a < 3, np.longdouble(0.5) - density * series, density / (far + fraction))


def silu(x: Wide) -> list[Wide]:
    s, m = sigmoid(x), sigmoid(-x)
    p, t = s * m, np.tanh(x / 2)
    return [s * (1 + x * m), p * (2 - x * t), p * (x * (1 - 6 * p) - 3 * t)]


def gelu(x: Wide) -> list[Wide]:
    a = abs(x)
    density = np.exp(-a * a / 2) / np.sqrt(2 * PI)
    tail = normal_tail(a) - a * density
    first = np.where(x > 0, 1 - tail, tail)
    return [first, density * (2 - x * x), density * (x**3 - 4 * x)]


def gelu_tanh(x: Wide) -> list[Wide]:
    k, c = 2 * np.sqrt(2 / PI), np.longdouble("0.044715")
    v, v1, v2, v3 = k * (x + c * x**3), k * (1 + 3 * c * x * x), 6 * k * c * x, 6 * k * c
    s, m, t = sigmoid(v), sigmoid(-v), np.tanh(v / 2)
    p = s * m
    p1, p2 = -p * t, p * (1 - 6 * p)
    g1, g2, g3 = p * v1, p1 * v1**2 + p * v2, p2 * v1**3 + 3 * p1 * v1 * v2 + p * v3
    return [s + x * g1, 2 * g1 + x * g2, 3 * g2 + x * g3]


def softplus(x: Wide, beta: float, threshold: float) -> list[Wide]:
    z = beta * x
    p = sigmoid(z) * sigmoid(-z)
    first = np.where(z > threshold, 1, sigmoid(z))
    curved = z < threshold
    third = -(beta**2) * p * np.tanh(z / 2)
    return [first, np.where(curved, beta * p, 0), np.where(curved, third, 0)]


def tanh(y: Wide) -> list[Wide]:
    return [(1 - y) * (1 + y), -2 * y, -2 + 0 * y]


def of_sigmoid(y: Wide) -> list[Wide]:
    return [y * (1 - y), 1 - 2 * y, -2 + 0 * y]


def elu(x: Wide, alpha: float, scale: float, rate: float) -> list[Wide]:
    below = [scale * alpha * rate**n * np.exp(rate * np.minimum(x, 0)) for n in (1, 2, 3)]
    return [
        np.where(x > 0, scale, below[0]),
        np.where(x < 0, below[1], 0),
        np.where(x < 0, below[2], 0),
    ]


def mish(x: Wide) -> list[Wide]:
    """w = tanh(softplus(x)) is n / d, n = e^2 + 2 e and d = n + 2, with e = exp(x)."""
    e = np.exp(np.minimum(x, 700))
    d = e * e + 2 * e + 2
    w = e * (e + 2) / d
    w1 = 4 * e * (1 + e) / d**2
    w2 = 4 * e * (2 + 2 * e - 3 * e**2 - 2 * e**3) / d**3
    w3 = 4 * e * (4 - 32 * e**2 - 24 * e**3 + 5 * e**4 + 4 * e**5) / d**4
    return [w + x * w1, 2 * w1 + x * w2, 3 * w2 + x * w3]


def hardswish(x: Wide) -> list[Wide]:
    inside = abs(x) < 3
    first = np.where(inside, x / 3 + np.longdouble(0.5), x > 0)
    return [first, inside / np.longdouble(3), 0 * x]


def log_sigmoid(x: Wide) -> list[Wide]:
    p = sigmoid(x) * sigmoid(-x)
    return [sigmoid(-x), -p, p * np.tanh(x / 2)]


def softsign(x: Wide) -> list[Wide]:
    q = 1 / (1 + abs(x))
    return [q**2, -2 * np.sign(x) * q**3, 6 * q**4]


#: What each activation is in the operators, with parameters for it.
TEXTBOOK: dict[str, tuple[Callable[..., list[Wide]], tuple[float, ...]]] = {
    "silu": (silu, ()),
    "gelu": (gelu, ()),
    "gelu_tanh": (gelu_tanh, ()),
    "softplus": (softplus, (1.5, 2.0)),
    "tanh": (tanh, ()),
    "sigmoid": (of_sigmoid, ()),
    "elu": (elu, (1.25, 0.875, 0.75)),
    "mish": (mish, ()),
    "hardswish": (hardswish, ()),
    "log_sigmoid": (log_sigmoid, ()),
    "softsign": (softsign, ()),
}


def derivatives(x: Tensor, activation: str, parameters: list[float]) -> list[Expected]:
    """f', f'' and f''', each within ROUNDINGS u (|f^(k)| + |x f^(k+1)|) + t.

    A derivative may be off by its own roundings, and by as much as it changes when x moves by a few
    of its own: where a formula's summands cancel each other, or the argument of an exponential is
    rounded, it is the second summand that counts. t is one subnormal number of the compute dtype,
    as which the derivative may be rounded. The fourth derivative is a difference of the third ones.
    """
    function, _ = TEXTBOOK[activation]
    at = exact(x)
    # Parameters are numbers of the compute dtype.
    given = [float(torch.tensor(p, dtype=compute_dtype(x.dtype))) for p in parameters]
    values = function(at, *given)
    step = np.longdouble(1e-6) * np.maximum(abs(at), 1)
    before, after = (function(at + side * step, *given)[2] for side in (-1, 1))
    slopes = [*values[1:], (after - before) / (2 * step)]
    compute = compute_dtype(x.dtype)
    _, tiny = storage(compute)
    error = SECOND_ORDER * ROUNDINGS * unit(compute)
    return [
        (value, error * (abs(value) + abs(at * slope)) + tiny)
        for value, slope in zip(values, slopes, strict=True)
    ]


def stored(x: Tensor, *products: Any) -> Expected:
    """A sum of products of numbers with one derivative each: (factors..., derivative).

    Each factor but one is a rounding, and may make a product subnormal before the next one.
    """
    compute = compute_dtype(x.dtype)
    u, (_, tiny), (v, t) = unit(compute), storage(compute), storage(x.dtype)
    value, bound = np.longdouble(0), np.longdouble(0)
    for *factors, (derivative, error) in products:
        product = np.prod(np.broadcast_arrays(*factors, derivative), axis=0)
        size = np.prod(np.broadcast_arrays(*[abs(f) for f in factors]), axis=0)
        lost = tiny * np.prod(np.broadcast_arrays(*[1 + abs(f) for f in factors]), axis=0)
        value = value + product
        bound = bound + size * error + lost + SECOND_ORDER * 4 * u * abs(product)
    return value, bound + v * (abs(value) + bound) + t


def gradients(
    x: Tensor, grad: Tensor, tangent: Tensor, activation: str, parameters: list[float]
) -> list[Expected]:
    first, second, _ = derivatives(x, activation, parameters)
    g, t = exact(grad), exact(tangent)
    return [stored(x, (t, first)), stored(x, (t, g, second))]


def backward(
    x: Tensor,
    grad: Tensor,
    tangent: Tensor,
    adjoint_of_grad: Tensor,
    adjoint_of_x: Tensor,
    activation: str,
    parameters: list[float],
) -> list[Expected]:
    first, second, third = derivatives(x, activation, parameters)
    g, t, a, b = (exact(tensor) for tensor in (grad, tangent, adjoint_of_grad, adjoint_of_x))
    return [
        stored(x, (t, a, second), (t, b, g, third)),
        stored(x, (t, b, second)),
        stored(x, (a, first), (b, g, second)),
    ]


def alike(count: int) -> Any:
    """Arguments: tensors that lie alike, each in one piece of memory, and an activation."""

    def arguments(
        shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
    ) -> tuple[Any, ...]:
        tensors = [samples(shape, dtype, layout) for _ in range(count)]
        name = list(TEXTBOOK)[variant % len(TEXTBOOK)]
        return *map(in_one_piece, tensors), name, list(TEXTBOOK[name][1])

    return arguments


def in_one_piece(x: Tensor) -> Tensor:
    strides = (x[0].numel(), *x.stride()[1:])
    if x.shape[0] == 1 or x.stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype).copy_(x)


KNOWN = {
    "activation_gradients": Known(lambda how, *args: gradients(*args), alike(3)),
    "activation_gradients_backward": Known(lambda how, *args: backward(*args), alike(5)),
}
