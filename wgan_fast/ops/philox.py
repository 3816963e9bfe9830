"""The mixing factors: Philox4x32-10 in plain PyTorch, the same bits as the kernels draw.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def philox4x32_10(counter: Tensor, key: Tensor) -> Tensor:
    """Four random 32-bit words for each 128-bit counter, as int64.

    Args:
        counter: ``[4, B]``, int64, 32-bit words.
        key: ``[2]``, int64, 32-bit words.

    Returns:
        ``[4, B]``, int64, 32-bit words.
    """
    multiplier = counter.new_tensor([[0xD2511F53], [0xCD9E8D57]])
    step = key.new_tensor([0x9E3779B9, 0xBB67AE85])  # the golden ratio and sqrt(3) - 1
    even, odd = counter[[0, 2]], counter[[1, 3]]
    for _ in range(10):
        # 64 bits wrap around in an int64, so that the shift finds the high word where it should be.
        product = even * multiplier
        even = ((product >> 32) & _MASK).flip(0) ^ odd ^ key.unsqueeze(1)
        odd = (product & _MASK).flip(0)
        key = (key + step) & _MASK
    return torch.stack([even[0], odd[0], even[1], odd[1]])


def uniform_epsilon(seed: Tensor, batch: int, first_sample: int, device: torch.device) -> Tensor:
    """epsilon of ``batch`` samples from ``first_sample`` on: ``[B]``, float32, in [0, 1).

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
    counter = torch.stack([index & _MASK, (index >> 32) & _MASK, zero, zero])
    seed = seed.reshape(()).to(device, non_blocking=True)
    words = philox4x32_10(counter, torch.stack([seed & _MASK, (seed >> 32) & _MASK]))
    return (words[0] >> 8).to(torch.float32) * 2.0**-24
