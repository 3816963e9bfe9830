"""Compiles every CUDA kernel for every GPU generation and holds the result to what is promised.

    python -m tools.cuda_check            checks, and prints the table
    python -m tools.cuda_check --write    puts the table into docs/cuda.md as well

No register spilled, no stack, at most 64 registers (80 for normalised rows), 16-byte loads and
stores, no atomics of floats.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator

from . import pages
from .compiled_kernels import ARCHITECTURES, ROOT, Kernel, compile_all, nvcc_version, why_not

MAX_REGISTERS = 64  # so that half the threads of an A100 fit
MAX_REGISTERS_OF_ROWS = 80  # and of kernels that hold packets of three arrays, three eighths
THREADS = 256  # of a block: kThreads of csrc/cuda/threads.cuh


def arrays_of_maps(source: str) -> dict[str, tuple[int, int]]:
    """How many arrays the frames read and write for each operation of a CUDA file."""
    counts = r"struct (\w+) \{[^}]*\bint inputs = (\d+);\s*[^}]*\bint outputs = (\d+);"
    return {name: (int(ins), int(outs)) for name, ins, outs in re.findall(counts, source)}


ARRAYS: dict[str, tuple[int, int]] = {}
for _path in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
    ARRAYS |= arrays_of_maps(_path.read_text())


def arrays_of(name: str) -> tuple[int, int]:
    """How many arrays the kernel of this name reads and writes in packets.

    One that only adds up writes few numbers; one that adds up columns reads element by element.
    """
    kernel, _, operation = name.partition("<")
    reads, writes = ARRAYS.get(operation.partition("<")[0], (1, 0))
    if kernel == "sums_of_weights" or name.endswith(", 1>"):  # for what is not aligned
        return 0, 0
    return (reads, writes) if kernel.startswith(("map_", "normalise_")) else (reads, 0)


def faults(kernel: Kernel) -> Iterator[str]:
    """What is wrong with a compiled kernel."""
    reads, writes = arrays_of(kernel.name)
    if kernel.spilled:
        yield f"{kernel.spilled} bytes of registers are spilled"
    if kernel.stack or kernel.count("LDL") or kernel.count("STL"):
        yield f"{kernel.stack} bytes of stack are used"
    most = MAX_REGISTERS_OF_ROWS if "Normalisation" in kernel.name else MAX_REGISTERS
    if kernel.registers > most:
        yield f"{kernel.registers} registers, more than {most}"
    if kernel.count("LDG.E.128") < reads:
        yield f"{kernel.count('LDG.E.128')} 16-byte loads, fewer than {reads}"
    if kernel.count("STG.E.128") < writes:
        yield f"{kernel.count('STG.E.128')} 16-byte stores, fewer than {writes}"
    for name in kernel.instructions:
        if name.startswith(("ATOM", "RED")) and re.search(r"\.B?F(16|32|64)", name):
            yield f"an atomic of floating-point numbers: {name}"


def report(kernels: Iterable[Kernel]) -> str:
    """The table of docs/cuda.md: registers, and the share of the possible threads that fit.

    Of the kernels of one operation and type, one for each activation, that with most registers.
    """
    by_name: dict[str, dict[int, Kernel]] = {}
    for kernel in sorted(kernels, key=lambda kernel: kernel.registers):
        name = re.sub(r"^(\w+<\w+<\w+), \w+>>", r"\1, ...>>", kernel.name)
        by_name.setdefault(name, {})[kernel.sm] = kernel
    rows = []
    for name, compiled in sorted(by_name.items()):
        cells = []
        for architecture in ARCHITECTURES:
            registers = compiled[architecture.sm].registers
            cells.append(f"{registers} / {architecture.occupancy(registers, THREADS):.0%}")
        rows.append((f"`{name}`", *cells))
    header = ["registers / occupancy", *(f"sm_{a.sm} ({a.example})" for a in ARCHITECTURES)]
    return f"nvcc {nvcc_version()}:\n\n{pages.table(header, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/cuda.md")
    write = parser.parse_args().write
    reason = why_not()
    if reason is not None:
        print(f"cuda-check: {reason}", file=sys.stderr)
        return 1
    kernels = compile_all()
    wrong = [f"{k.name} for sm_{k.sm}: {fault}" for k in kernels for fault in faults(k)]
    text = report(kernels)
    if write:
        pages.write("compiled", text)
    documented = pages.read("compiled")
    if text != documented and text.splitlines()[0] == documented.splitlines()[0]:  # the same nvcc
        wrong.append("the table of docs/cuda.md is out of date; type: make cuda-docs")
    print(text)
    print("\n".join(["", *wrong, f"{len(kernels)} kernels, {len(wrong)} faults"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
