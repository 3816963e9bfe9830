"""Runs the compiled operators in a process of their own, and saves what they return.

WGAN_FAST_CPU_CAPABILITY=avx2 python tests/ops/on_one_instruction_set.py OUTPUT

With WGAN_FAST_CPU_CACHE=0 every output is written past the caches.
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
from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native


def last_bits_of_norms(dtype: torch.dtype) -> torch.Tensor:
    """Penalties that show the last bits of norms in float64, before they are rounded to float32.

    The target is so near to the norm that their distance is a few hundred units in its last place.
    """
    penalties = []
    for dim in (2, 4, 5, 31, 33, 97, 1009, 16384, 16385, 40_000, 2**20 + 3):
        for _ in range(4):
            gradients = torch.randn(1, dim, dtype=torch.float64).to(dtype)
            target = float(torch.linalg.vector_norm(gradients.double())) * (1 + 1e-13)
            settings = (target, False, 2.0, 1.0, True)
            penalties.append(REGISTRY["norm_penalty"].overload(gradients, *settings)[0])
    return torch.stack(penalties)


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
    for dtype in DTYPES:
        results[f"norm_penalty {dtype}, last bits"] = (last_bits_of_norms(dtype),)
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
