"""Batches that reach every path of the CUDA kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """A batch: its shape, where it begins and how far apart its rows are (in elements)."""

    batch: int
    dim: int
    shift: int = 0  # of the first element from an aligned address
    gap: int = 0  # between rows
    max_blocks: int = 65536

    def __str__(self) -> str:
        extra = [f"{name}{n}" for name in ("shift", "gap") if (n := getattr(self, name))]
        if self.max_blocks < 65536:
            extra.append(f"grid{self.max_blocks}")
        return "-".join([f"{self.batch}x{self.dim}", *extra])

    def batch_of(self, dtype: torch.dtype, *, seed: int = 0) -> Tensor:
        """Random samples in this layout, surrounded by NaN that nobody may read."""
        stride = self.dim + self.gap
        generator = torch.Generator().manual_seed(seed)
        memory = torch.full((self.shift + self.batch * stride + 16,), torch.nan, dtype=dtype)
        assert memory.data_ptr() % 16 == 0
        rows = memory.as_strided((self.batch, self.dim), (stride, 1), self.shift)
        return rows.copy_(torch.randn(self.batch, self.dim, generator=generator))

    def layout(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """For tests.ops.arguments."""
        assert shape == (self.batch, self.dim)
        return self.batch_of(dtype)


#: Rows of a few elements, within a packet and across several; B = 1, D = 1.
TINY = [Case(1, 1), Case(5, 1), Case(3, 2), Case(130, 2), Case(67, 3), Case(9, 5), Case(2, 16)]
#: Every misalignment of the batch, and rows that are each misaligned differently.
MISALIGNED = [
    *(Case(3, 37, shift) for shift in range(8)),
    *(Case(2, 40, shift, gap=3) for shift in (0, 1, 4)),
    Case(4, 8, gap=8),
    Case(6, 1, shift=1, gap=2),
]
#: A block for a row, aligned and not. 4 KiB is where it begins, 16 KiB where it ends.
MIDDLING = [Case(2, 1024), Case(2, 2048), Case(3, 2500, shift=1, gap=1), Case(2, 2049)]
#: Several blocks for a row in most types or all.
LONG = [Case(1, 8200), Case(2, 9001, shift=3, gap=2), Case(3, 16384 + 8), Case(1, 60001, shift=1)]
#: Blocks that go on to further work, and threads with several packets, in every regime.
SMALL_GRID = [
    Case(300, 7, max_blocks=2),
    Case(40, 130, max_blocks=1),
    Case(6, 1501, max_blocks=1),
    Case(7, 2100, max_blocks=2),
    Case(3, 20000, max_blocks=2),
    Case(2, 12345, shift=1, max_blocks=1),
]
ALL = [*TINY, *MISALIGNED, *MIDDLING, *LONG, *SMALL_GRID]
