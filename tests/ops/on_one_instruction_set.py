"""Runs the compiled operators in a process of their own, and saves what they return.

WGAN_FAST_CPU_CAPABILITY=avx2 python tests/ops/on_one_instruction_set.py OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.ops.arguments import arguments
from tests.ops.compare import as_tuple
from tests.ops.layouts import DTYPES, LAYOUTS, SHAPES
from tests.ops.test_conversions import every_pattern, neighbours_of_every_boundary
from wgan_fast import native
from wgan_fast.ops import REGISTRY


def main(output: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results, inputs = {}, {}
    for name, op in REGISTRY.items():
        for dtype in DTYPES:
            for i, shape in enumerate([*SHAPES, (3, 2, 173, 101)]):
                args = arguments(name, shape, dtype, LAYOUTS[i % len(LAYOUTS)], i)
                key = f"{name} {dtype} {shape}"
                inputs[key], results[key] = args, as_tuple(op.overload(*args))
    backward = REGISTRY["interpolate_backward"].overload
    for dtype in (torch.float16, torch.bfloat16):
        values = every_pattern(dtype).unsqueeze(0)
        results[f"widened {dtype}"] = backward(values, torch.ones(1))
        values = neighbours_of_every_boundary(dtype)
        ones = torch.ones(len(values), 1, dtype=dtype)
        results[f"rounded {dtype}"] = backward(ones, values)
    capability = native.cpu_capability()
    torch.save({"capability": capability, "inputs": inputs, "results": results}, output)


if __name__ == "__main__":
    main(sys.argv[1])
