"""The operators on the simulated GPU: the same signatures as ``wgan_fast.ops``, on CPU tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from wgan_fast.ops import REGISTRY

from .build import MODES, load


@functools.cache
def _operators(mode: str) -> Any:
    """``torch.ops.simulated_gpu_plain``: every operator under its own schema."""
    namespace = MODES[mode].namespace
    library = torch.library.Library(namespace, "DEF")
    for op in REGISTRY.values():
        library.define(op.schema)
    _libraries.append(library)
    return getattr(torch.ops, namespace)


_libraries: list[torch.library.Library] = []  # what is defined lives as long as these


class SimulatedGpu:
    """Runs the kernels of csrc/cuda on the CPU: ``SimulatedGpu().norm_penalty(...)``.

    Args:
        mode: "plain" or "trace".
        max_blocks: the largest grid; a small one makes blocks go on to further work.
        seed_on_device: pass the seed as memory that the kernel reads, not as a number.
        shift: let the results begin that many elements after an aligned address.
    """

    def __init__(
        self,
        mode: str = "plain",
        *,
        max_blocks: int = 65536,
        seed_on_device: bool = False,
        shift: int = 0,
    ):
        self.operators = _operators(mode)
        self.module: ModuleType = load(mode)
        self.switches = (max_blocks, shift, seed_on_device)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in REGISTRY:
            raise AttributeError(name)

        def run(*args: Any) -> Any:
            self.module.configure(*self.switches)
            return getattr(self.operators, name)(*args)

        return run
