"""Turns CUDA C++ into plain C++ for the simulated GPU: only what a C++ compiler cannot parse.

    kernel<T><<<grid, block, bytes, stream>>>(arguments)    becomes a call of simt::launch
    __shared__ T name[N];                                   becomes memory of the running block

Everything else (``__global__``, ``threadIdx``, ``__syncthreads()``...) is defined by
``device/simt.h``. Line numbers stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

_SHARED = re.compile(r"__shared__\s+([^;=()]+?)\s*\b(\w+)\s*((?:\[[^\]]*\]\s*)*);")
_LAUNCH = re.compile(r"<<<(.*?)>>>", re.DOTALL)


def _start_of_kernel(source: str, end: int) -> int:
    """Where the name that ends at ``end`` starts: ``a::b<template, arguments<>>``."""
    start = end
    if source[start - 1] == ">":
        depth = 0
        while True:
            start -= 1
            depth += (source[start] == ">") - (source[start] == "<")
            if depth == 0:
                break
    while re.match(r"[\w:]", source[start - 1]):
        start -= 1
    return start


def translate(source: str) -> str:
    """CUDA source text as C++ source text."""
    source = _SHARED.sub(r"SIMT_SHARED((\1), \2, \3);", source)
    result, done = "", 0
    for launch in _LAUNCH.finditer(source):
        start = _start_of_kernel(source, launch.start())
        kernel = source[start : launch.start()]
        name = kernel.partition("<")[0]
        call = f'simt::launch(simt::Shape({launch[1]}), {kernel}, "{name}")'
        result += source[done:start] + call
        done = launch.end()
    return result + source[done:]


def translate_folder(csrc: Path, out: Path) -> None:
    """Writes ``csrc/cuda``, translated, and ``csrc/common``, as it is, below ``out``."""
    for folder in ("cuda", "common"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((csrc / folder).iterdir()):
            text = path.read_text()
            if folder == "cuda":
                text = f'#line 1 "{path}"\n{translate(text)}'
            target = out / folder / path.name
            if not target.exists() or target.read_text() != text:
                target.write_text(text)


if __name__ == "__main__":
    import sys

    translate_folder(Path(sys.argv[1]), Path(sys.argv[2]))
