"""The mixing factors where there is no kernel: by PyTorch's own generator, block by block.

Philox costs a kernel nothing, and in PyTorch's functions more than the whole penalty of a small
critic. Here every block of samples has a generator of its own on the CPU (Mersenne Twister), which
is seeded anew, so that a sample's factor depends on the seed and the sample's index alone.

Source: Matsumoto, Nishimura, "Mersenne Twister", TOMACS 8, 1998; ``torch.Generator``.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: How many samples share a generator. Seeding one takes as long as drawing for 2000.
BLOCK = 4096
#: The golden ratio in 32 bits, odd: multiples of it are far apart.
_STEP = 0x9E3779B9


def uniform_epsilon(seed: Tensor, batch: int, first_sample: int, device: torch.device) -> Tensor:
    """epsilon of ``batch`` samples from ``first_sample`` on: ``[B]``, float32, in [0, 1).

    Args:
        seed: one int64 number, on the CPU.
        batch: the number of samples.
        first_sample: the index of the first one in the whole batch.
        device: where the factors are wanted; they are drawn on the CPU.
    """
    number = int(seed)
    number ^= number >> 32  # the generator takes the lower half
    parts = []
    end = first_sample + batch
    for block in range(first_sample // BLOCK, -(-end // BLOCK)):
        begin = block * BLOCK
        generator = torch.Generator().manual_seed((number + block * _STEP) & 0xFFFFFFFF)
        drawn = torch.rand(min(end - begin, BLOCK), generator=generator, dtype=torch.float32)
        parts.append(drawn[max(first_sample - begin, 0) :])
    epsilon = parts[0] if len(parts) == 1 else torch.cat(parts)
    return epsilon if device.type == "cpu" else epsilon.to(device, non_blocking=True)
