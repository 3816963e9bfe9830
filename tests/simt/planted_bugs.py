"""Bugs to plant in the CUDA kernels: what detects them is tested with them."""

from __future__ import annotations

from dataclasses import dataclass

from simt.build import CSRC


@dataclass(frozen=True)
class Bug:
    """One edit of one file, the mode that must notice it, and a word of what it must say."""

    name: str
    file: str
    right: str
    wrong: str
    mode: str
    says: str

    def edits(self) -> dict[str, str]:
        text = (CSRC / "cuda" / self.file).read_text()
        count = text.count(self.right)
        assert count == 1, f"{self.name}: {count} places in {self.file} read {self.right!r}"
        return {self.file: text.replace(self.right, self.wrong)}


_SLOT = "if (lane == 0) slot[threadIdx.x / kLanes] = v;"
_COMBINE = "v = Lanes{kWarps}.reduce(slot[lane % kWarps], combine);"

BUGS = (
    Bug(
        "missing barrier before shared memory is read",
        *("threads.cuh", f"{_SLOT}\n    __syncthreads();", _SLOT),
        *("tsan", "data race"),
    ),
    Bug(
        "missing barrier before shared memory is written again",
        *("threads.cuh", f"{_COMBINE}\n    __syncthreads();", _COMBINE),
        *("tsan", "data race"),
    ),
    Bug(
        "missing fence before the ticket",
        *("threads.cuh", "__threadfence();  // what this block wrote", "// what this block wrote"),
        *("tsan", "data race"),
    ),
    Bug(
        "missing fence after the ticket",
        *("threads.cuh", "__threadfence();  // what the others wrote", "// what the others wrote"),
        *("tsan", "data race"),
    ),
    Bug(
        "ticket drawn without an atomic",
        *("threads.cuh", "atomicAdd(ticket, 1u)", "(*ticket)++"),
        *("tsan", "data race"),
    ),
    Bug(
        "blocks that write the same elements",
        *("map_rows.cuh", "start += gridDim.x * tile", "start += tile"),
        *("tsan", "data race"),
    ),
    Bug(
        "uninitialised shared memory",
        *("threads.cuh", "if (lane == 0) slot", "if (lane == 0 && threadIdx.x > 0) slot"),
        *("asan", "nan instead of"),
    ),
    Bug(
        "divergent barrier",
        *("threads.cuh", f"{_SLOT}\n    __syncthreads();"),
        *(f"{_SLOT}\n    if (threadIdx.x < kLanes) __syncthreads();", "tsan"),
        "threads of one block meet at different __syncthreads()",
    ),
    Bug(
        "lanes that do not come to a shuffle",
        *("norm_penalty.cu", "for (int64_t first = 0; first < args.batch; first += rows) {"),
        "for (int64_t first = threadIdx.x / plan.lanes; first < args.batch; first += rows) {",
        *("asan", "waits for lanes of its warp"),
    ),
    Bug(
        "off by one at the end of the outputs",
        *("map_rows.cuh", "left = extent.size - i;", "left = extent.size - i + 1;"),
        *("asan", "heap-buffer-overflow"),
    ),
    Bug(
        "off by one at the end of a row",
        *(
            "sum_of_squares.cuh",
            "dim - head - packets * width)",
            "dim + 1 - head - packets * width)",
        ),
        *("asan", "heap-buffer-overflow"),
    ),
    Bug(
        "off by one in shared memory",
        *("threads.cuh", "slot[lane % kWarps]", "slot[lane % kWarps + 1]"),
        *("asan", "use-after-poison"),
    ),
    Bug(
        "misaligned vector load of a packet",
        *("map_rows.cuh", "in_one_piece && is_aligned(p)", "in_one_piece"),
        *("asan", "misaligned address"),
    ),
    Bug(
        "blocks that write the same elements of dense arrays",
        *("map_elements.cuh", "int64_t{gridDim.x} * kThreads * width", "int64_t{kThreads} * width"),
        *("tsan", "data race"),
    ),
    Bug(
        "off by one at the end of dense arrays",
        *("map_elements.cuh", "end = i + count;", "end = i + count + 1;"),
        *("asan", "heap-buffer-overflow"),
    ),
    Bug(
        "misaligned vector load of dense arrays",
        *("map_elements.cuh", "if (aligned && count", "if (count"),
        *("asan", "misaligned address"),
    ),
    Bug(
        "misaligned vector load of a row",
        *("sum_of_squares.cuh", "misaligned == 0 ? 0 : width - misaligned", "0 * misaligned"),
        *("asan", "misaligned address"),
    ),
    Bug(
        "missing barrier before the ticket of what several threads wrote",
        *(
            "weight_sums.cuh",
            "__syncthreads();  // what the other threads wrote",
            "// what they wrote",
        ),
        *("tsan", "data race"),
    ),
    Bug(
        "missing barrier before columns are written again",
        *(
            "weight_sums.cuh",
            "__syncthreads();  // before the next ones",
            "// before the next ones",
        ),
        *("tsan", "data race"),
    ),
    Bug(
        "off by one at the end of a segment",
        *("normalised_rows.cuh", "i < end; i += group.size()", "i <= end; i += group.size()"),
        *("asan", "heap-buffer-overflow"),
    ),
)
