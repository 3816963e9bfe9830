"""The mixing factors: Philox4x32-10 in plain PyTorch, the same bits as the kernels draw.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def philox4x32_10(counter: list[Tensor], key: list[Tensor]) -> list[Tensor]:
    """Four random 32-bit words for each 128-bit counter, as int64 tensors.

    Args:
        counter: four int64 tensors of 32-bit words, of one shape.
        key: two int64 tensors of 32-bit words that broadcast with them.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(0xD2511F53, c0)
        high1, low1 = _multiply(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + 0x9E3779B9) & _MASK  # the golden ratio
        k1 = (k1 + 0xBB67AE85) & _MASK  # sqrt(3) - 1
    return [c0, c1, c2, c3]


def _multiply(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """High and low word of a 32 x 32 bit product, which an int64 cannot hold as a whole."""
    low = (b & 0xFFFF) * a
    high = (b >> 16) * a + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def uniform_epsilon(seed: Tensor, batch: int, first_sample: int, device: torch.device) -> Tensor:
    """epsilon for samples ``first_sample`` to ``first_sample + batch``: ``[B]``, float32, in [0, 1).

    The factor of a sample depends on the seed and the sample's index alone. It has 24 random bits,
    which float32 and float64 hold exactly.

    Args:
        seed: one int64 number, on the CPU or on ``device``.
        batch: the number of samples.
        first_sample: the index of the first one in the whole batch.
        device: where to draw.
    """
    index = torch.arange(first_sample, first_sample + batch, device=device)
    zero = torch.zeros_like(index)
    seed = seed.reshape(())
    counter = [index & _MASK, (index >> 32) & _MASK, zero, zero]
    words = philox4x32_10(counter, [seed & _MASK, (seed >> 32) & _MASK])
    return (words[0] >> 8).to(torch.float32) * 2.0**-24
