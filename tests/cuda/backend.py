"""The operators on a real GPU, for tests whose tensors lie on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native


def why_not() -> str | None:
    """Why no CUDA kernel can run here; None if they can."""
    if not torch.cuda.is_available():
        return "no GPU"
    return native.why_not("norm_penalty", "cuda")


def to_gpu(x: Tensor) -> Tensor:
    """A copy on the GPU with the same strides, as far from an aligned address as ``x``."""
    shift = x.data_ptr() % 16 // x.element_size()
    extent = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    size = extent if x.numel() > 0 else 0
    memory = torch.empty(size + shift, dtype=x.dtype)
    memory[shift:] = x.as_strided((size,), (1,))
    return memory.cuda().as_strided(x.shape, x.stride(), shift)


def _on_gpu(name: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        # The seed stays on the CPU, as in eager use.
        moved = [to_gpu(a) if isinstance(a, Tensor) and a.dtype != torch.int64 else a for a in args]
        with torch.no_grad():
            return tree_map_only(Tensor, Tensor.cpu, REGISTRY[name].overload(*moved))

    return run


OPERATORS: dict[str, Callable[..., Any]] = {name: _on_gpu(name) for name in REGISTRY}
