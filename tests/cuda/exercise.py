"""Runs every CUDA kernel once on every path, for compute-sanitizer to watch.

Inputs come from the CPU and results go there, so that no kernel runs but ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.cuda.backend import OPERATORS
from tests.ops.arguments import arguments
from tests.simt.cases import DTYPES, LONG, MIDDLING, MISALIGNED, TINY


def exercise(operators: Mapping[str, Any]) -> None:
    """Calls each operator with batches of every kind, in every dtype."""
    for dtype in DTYPES:
        for case in [*TINY[2:5], *MISALIGNED[1:10:4], *MIDDLING[::2], *LONG[:2]]:
            for name, run in operators.items():
                run(*arguments(name, (case.batch, case.dim), dtype, case.layout, 0))


def main() -> None:
    exercise(OPERATORS)
    torch.cuda.synchronize()
    print("exercised")


if __name__ == "__main__":
    main()
