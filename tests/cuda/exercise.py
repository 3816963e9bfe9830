"""Runs every CUDA kernel once on every path, for compute-sanitizer to watch.

Inputs come from the CPU and results go there, so that no kernel runs but ours.
"""

from __future__ import annotations

import torch

from tests.cuda.backend import OPERATORS
from tests.simt.cases import DTYPES, LONG, MIDDLING, MISALIGNED, TINY

SETTINGS = (1.0, False, 2.0, 10.0, True)


def main() -> None:
    for dtype in DTYPES:
        for case in [*TINY[2:5], *MISALIGNED[1:10:4], *MIDDLING[::2], *LONG[:2]]:
            x, y = case.batch_of(dtype, seed=1), case.batch_of(dtype, seed=2)
            seed = torch.tensor(5)
            OPERATORS["random_interpolate"](x, y, seed, 0)
            OPERATORS["random_interpolate_backward"](x, seed, 0)
            penalty, norms = OPERATORS["norm_penalty"](x, *SETTINGS)
            OPERATORS["norm_penalty_backward"](x, norms, penalty, norms, *SETTINGS)
    torch.cuda.synchronize()
    print("exercised")


if __name__ == "__main__":
    main()
