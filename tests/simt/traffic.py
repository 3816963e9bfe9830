"""What each CUDA kernel asks of memory, traced on the simulated GPU.

python -m tests.simt.traffic            prints the table
python -m tests.simt.traffic --write    puts it into docs/cuda.md
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simt.backend import SimulatedGpu
from tests.ops.arguments import arguments
from tools import pages
from wgan_fast.ops import REGISTRY

from .cases import DTYPES, Case

#: Aligned rows, for a kernel that computes each element by itself.
ELEMENTWISE = Case(16, 2048)
#: For every other operator, a shape for each way in which it can cut the batch.
SHAPES = {
    "norm_penalty": (Case(64, 256), Case(8, 2048), Case(2, 20480)),
    "normalisation_backward": (Case(64, 512), Case(8, 20480)),
    "normalisation_double_backward": (Case(64, 512), Case(8, 20480)),
}
#: The variant of their arguments: a layer without weights, no gradients of these.
VARIANTS = {"normalisation_backward": 4, "normalisation_double_backward": 4}
#: Kernels that read their inputs twice, for the sums and for the elements.
TWICE = "normalise_by_lanes<"
#: Kernels that write nothing but sums.
SUMS = "sums_of_"
SHORT_ROWS = Case(4096, 2)


@dataclass(frozen=True)
class Measurement:
    """One launch. Bytes are counted once for all lanes of a warp that ask for the same ones."""

    kernel: str
    case: Case
    least_bytes: int  # every input read, once for each pass over it, and every output written once
    bytes: int
    vector_bytes: int
    sectors: int
    least_sectors: int
    bank_conflicts: int

    @property
    def overhead(self) -> float:
        """Bytes asked for beyond the least, relative to it."""
        return self.bytes / self.least_bytes - 1

    @property
    def sector_efficiency(self) -> float:
        return self.least_sectors / self.sectors

    @property
    def vector_share(self) -> float:
        """The share of the bytes that move 16 at a time."""
        return self.vector_bytes / self.bytes


def _bytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def measure(case: Case, name: str, dtype: torch.dtype) -> Measurement:
    """Traces one operator that launches one kernel."""
    (measurement,) = measure_launches(case, name, dtype)
    return measurement


def measure_launches(case: Case, name: str, dtype: torch.dtype) -> list[Measurement]:
    """Traces one operator: its tensors are its inputs, its results its outputs."""
    variant = VARIANTS.get(name, 0)
    args = arguments(name, (case.batch, case.dim), dtype, case.layout, variant)
    # A seed is passed as a number.
    tensors = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
    gpu = SimulatedGpu("trace", max_blocks=case.max_blocks)
    for tensor in tensors:
        # Rows with gaps lie in more memory than they have elements.
        gpu.module.watch(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
    gpu.module.take_traces()
    results = getattr(gpu, name)(*args)
    traces = gpu.module.take_traces()
    gpu.module.stop_watching()
    outputs = results if isinstance(results, tuple) else (results,)
    return [_measurement(case, trace, tensors, list(outputs)) for trace in traces]


def _measurement(
    case: Case, trace: dict[str, Any], inputs: list[Tensor], outputs: list[Tensor]
) -> Measurement:
    both = [trace["read"], trace["written"]]
    kernel = trace["kernel"]
    least_bytes = _bytes(*inputs) * (2 if kernel.startswith(TWICE) else 1)
    return Measurement(
        kernel=kernel,
        case=case,
        least_bytes=least_bytes + (0 if kernel.startswith(SUMS) else _bytes(*outputs)),
        bytes=sum(t["bytes"] for t in both),
        vector_bytes=sum(t["vector_bytes"] for t in both),
        sectors=sum(t["sectors"] for t in both),
        least_sectors=sum(t["least_sectors"] for t in both),
        bank_conflicts=trace["bank_conflicts"],
    )


def elementwise(case: Case, dtype: torch.dtype) -> list[Measurement]:
    """Every kernel that computes each element by itself; of operators that share one, the last."""
    measured = [measure(case, name, dtype) for name in REGISTRY if name not in SHAPES]
    return list({m.kernel: m for m in measured}.values())


def measure_all() -> list[Measurement]:
    """Every kernel in every type, on aligned rows."""
    found = []
    for dtype in DTYPES:
        found += elementwise(ELEMENTWISE, dtype)
        elements_of_16_bytes = 16 // dtype.itemsize
        for name, cases in SHAPES.items():
            for case in cases:
                # The same bytes in every type, so that the same kernel is chosen.
                dim = case.dim * elements_of_16_bytes // 4
                found += measure_launches(Case(case.batch, dim), name, dtype)
    return found


def report() -> str:
    """The table of docs/cuda.md."""
    return pages.table(
        [
            "kernel",
            "rows",
            "bytes beyond the least",
            "16-byte accesses",
            "sectors used",
            "conflicts",
        ],
        [
            (
                f"`{m.kernel}`",
                f"{m.case.batch} x {m.case.dim}",
                f"{100 * m.overhead:+.2f} %",
                f"{100 * m.vector_share:.1f} %",
                f"{100 * m.sector_efficiency:.1f} %",
                m.bank_conflicts,
            )
            for m in measure_all()
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/cuda.md")
    text = report()
    if parser.parse_args().write:
        pages.write("traffic", text)
    else:
        print(text)
