"""Arguments for every operator, of any shape, dtype and layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from tests.ops.layouts import (
    LARGE_SHAPES,
    LAYOUTS,
    SHAPES,
    Layout,
    contiguous,
    layouts_of,
    unaligned,
)
from tests.ops.textbook import compute_dtype
from wgan_fast.ops import REGISTRY
from wgan_fast.ops._layout import as_rows, rows_like

#: target, one_sided, power, scale, reduce
SETTINGS = [
    (1.0, False, 2.0, 10.0, True),
    (1.0, False, 2.0, 1.0, False),
    (1.0, True, 2.0, 10.0, False),
    (0.7, True, 2.0, 0.3, True),
    (0.0, False, 2.0, 0.5, True),
    (0.0, False, 6.0, 2.0, False),
    (2.3, False, 1.0, 1.0, True),
    (0.1, False, 1.5, 10.0, False),
    (75.0, False, 3.0, 0.1, True),
]


def samples(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout) -> Tensor:
    return as_rows(layout(shape, dtype))


def pair(shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, other: Layout) -> Any:
    real = samples(shape, dtype, layout)
    return real, rows_like(real, other(shape, dtype))


def norms_of(gradients: Tensor) -> Tensor:
    """``[B]``, of the dtype that the operators return, without over- or underflow."""
    rows = gradients.double().reshape(len(gradients), -1)
    largest = rows.abs().amax(1, keepdim=True)
    norms = torch.linalg.vector_norm(rows / largest.masked_fill(largest == 0, 1), dim=1)
    return (norms * largest.squeeze(1)).to(compute_dtype(gradients.dtype))


def arguments(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    """Positional arguments of the operator ``name``; ``variant`` is any number."""
    other = LAYOUTS[variant % len(LAYOUTS)]
    epsilon = torch.rand(shape[0], dtype=compute_dtype(dtype))
    drawn = torch.randint(-(2**63), 2**63 - 1, ()), [0, 7, 2**32 - 3, 2**40][variant % 4]
    settings = SETTINGS[variant % len(SETTINGS)]
    if name == "interpolate":
        return *pair(shape, dtype, layout, other), epsilon
    if name == "random_interpolate":
        return *pair(shape, dtype, layout, other), *drawn
    first = samples(shape, dtype, layout)
    if name == "interpolate_backward":
        return first, epsilon
    if name == "random_interpolate_backward":
        return first, *drawn
    if name == "norm_penalty":
        return first, *settings
    if name == "norm_penalty_backward":
        norms = norms_of(first)
        grad_penalty = torch.randn((), dtype=norms.dtype)
        if not settings[-1]:
            grad_penalty = torch.randn_like(norms)
        grad_norms = torch.randn_like(norms) if variant % 2 else None
        return first, norms, grad_penalty, grad_norms, *settings
    raise KeyError(f"tests/ops/arguments.py has no arguments for {name}: {REGISTRY[name].schema}")


def cases(name: str, dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every shape in every layout; the settings take turns."""
    variants = cycle(range(math.lcm(len(SETTINGS), len(LAYOUTS), 4)))
    everything = [(shape, layout) for shape in SHAPES for layout in layouts_of(shape)]
    everything += [(shape, layout) for shape in LARGE_SHAPES for layout in (contiguous, unaligned)]
    for shape, layout in everything:
        variant = next(variants)
        label = f"{name} {shape} {dtype} {layout.__name__}, variant {variant}"
        yield label, arguments(name, shape, dtype, layout, variant)
