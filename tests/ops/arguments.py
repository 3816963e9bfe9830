"""Arguments for every operator, of any shape, dtype and layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from tests.ops.layouts import LARGE_SHAPES, SHAPES, Layout, contiguous, layouts_of, unaligned
from tests.ops.operators import KNOWN


def arguments(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, layout: Layout, variant: int
) -> tuple[Any, ...]:
    """Positional arguments of the operator ``name``; ``variant`` is any number."""
    return KNOWN[name].arguments(shape, dtype, layout, variant)


def cases(name: str, dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every shape in every layout; the variants take turns."""
    variants = count()
    everything = [(shape, layout) for shape in SHAPES for layout in layouts_of(shape)]
    everything += [(shape, layout) for shape in LARGE_SHAPES for layout in (contiguous, unaligned)]
    for shape, layout in everything:
        variant = next(variants)
        label = f"{name} {shape} {dtype} {layout.__name__}, variant {variant}"
        yield label, arguments(name, shape, dtype, layout, variant)
