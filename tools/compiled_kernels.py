"""Compiles the CUDA kernels for each GPU architecture and reads what the compiler made of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "cuda"
FLAGS = ("-std=c++17", "-O3", "-Xcompiler", "-Wall,-Wextra", "--Werror", "all-warnings")


@dataclass(frozen=True)
class Architecture:
    """What limits the threads of one multiprocessor (CUDA programming guide, compute capabilities).

    All of these have 65536 registers, given out to warps in pieces of 256.
    """

    sm: int
    example: str
    max_threads: int
    max_blocks: int

    def occupancy(self, registers: int, threads: int) -> float:
        """The share of the possible threads that fit at once."""
        of_a_warp = -(-registers * 32 // 256) * 256
        warps = 65536 // of_a_warp // 4 * 4  # a quarter of the registers for each scheduler
        blocks = min(warps * 32 // threads, self.max_threads // threads, self.max_blocks)
        return blocks * threads / self.max_threads


def read_architectures(text: str) -> tuple[Architecture, ...]:
    """The lines of csrc/cuda/architectures.txt."""
    lines = [line.split(maxsplit=3) for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Architecture(int(capability.replace(".", "")), example, int(threads), int(blocks))
        for capability, threads, blocks, example in lines
    )


ARCHITECTURES = read_architectures((ROOT / "csrc" / "cuda" / "architectures.txt").read_text())


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel: ``map_rows<Interpolate<float>>`` for one architecture."""

    name: str
    sm: int
    registers: int
    stack: int
    spilled: int
    instructions: Counter[str]

    def count(self, prefix: str) -> int:
        """How many instructions start like this: ``LDG.E.128``."""
        return sum(n for name, n in self.instructions.items() if name.startswith(prefix))


def find_tool(name: str) -> str | None:
    """cuobjdump and the like: on the PATH, beside nvcc, or from PyPI's package."""
    nvcc = shutil.which("nvcc")
    places = [Path("/usr/local/cuda/bin")]
    if nvcc is not None:
        places.append(Path(nvcc).resolve().parent)
    places += sorted(Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/bin"))
    found = shutil.which(name)
    candidates = [Path(found)] if found else [place / name for place in places]
    return next((str(path) for path in candidates if path.exists()), None)


def why_not() -> str | None:
    """Why kernels cannot be compiled and read here; None if they can."""
    missing = [name for name in ("nvcc", "nvdisasm", "c++filt") if find_tool(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found; type: make install-cuda-tools"
    return None


def _output_of(*command: object, text: str | None = None) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, input=text)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def nvcc_version() -> str:
    match = re.search(r"release [\d.]+, V([\d.]+)", _output_of(find_tool("nvcc"), "--version"))
    assert match is not None
    return match[1]


def _readable(mangled: Iterable[str]) -> dict[str, str]:
    """``map_rows<Interpolate<float>>`` for each mangled name."""
    names = list(mangled)
    plain = _output_of(find_tool("c++filt"), text="\n".join(names)).splitlines()
    result = {}
    for name, text in zip(names, plain, strict=True):
        text = re.sub(r"\(anonymous namespace\)::|\b\w+::", "", text).removeprefix("void ")
        result[name] = text.partition("(")[0].replace("> >", ">>")
    return result


def read_resources(log: str) -> dict[str, tuple[int, int, int]]:
    """Registers, bytes of stack and bytes spilled of each function, from ``ptxas -v``."""
    result = {}
    for part in log.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        stack, stores, loads = (
            int(n)
            for n in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", part)[:3]
        )
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None
        result[name] = (int(registers[1]), stack, stores + loads)
    return result


def read_instructions(listing: str) -> dict[str, Counter[str]]:
    """The instructions of each function, from ``nvdisasm``."""
    result = {}
    for part in listing.split("\n\t.section\t.text.")[1:]:
        name = part.partition(",")[0]
        result[name] = Counter(
            re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)", part, re.M)
        )
    return result


def compile_file(source: Path, sm: int, *extra: str) -> list[Kernel]:
    """The kernels of one file, compiled for one architecture. Warnings are errors."""
    BUILD.mkdir(parents=True, exist_ok=True)
    cubin = BUILD / f"{source.stem}.sm_{sm}.cubin"
    log = _output_of(
        *(find_tool("nvcc"), *FLAGS, *extra, f"-arch=sm_{sm}", "-Xptxas", "-v"),
        *("-cubin", "-o", cubin, source),
    )
    resources = read_resources(log)
    instructions = read_instructions(_output_of(find_tool("nvdisasm"), "-c", cubin))
    names = _readable(resources)
    return [
        Kernel(names[mangled], sm, *resources[mangled], instructions[mangled])
        for mangled in resources
    ]


def compile_all(threads: int = 2) -> list[Kernel]:
    """All kernels for all architectures, by file, name and architecture."""
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    jobs = [(source, a.sm) for source in sources for a in ARCHITECTURES]
    with ThreadPoolExecutor(threads) as pool:
        kernels = [k for made in pool.map(lambda job: compile_file(*job), jobs) for k in made]
    return sorted(kernels, key=lambda kernel: (kernel.name, kernel.sm))
