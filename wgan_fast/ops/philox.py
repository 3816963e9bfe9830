"""Numbers of each sample: Philox4x32-10 in plain PyTorch, for the mixing factors the same bits as
the kernels draw.

A number depends on the seed, the sample's index and the number's place in the sample alone, however
a batch is cut into slices or spread over processes.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math

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
    return _uniform(philox4x32_10(counter, _key(seed, device))[0])


def uniform_like(samples: Tensor, seed: Tensor, first_sample: int) -> Tensor:
    """A number in [0, 1) for each element of ``samples``, in their shape and dtype.

    Args:
        samples: ``[B, *]``, on the device where to draw.
        seed: one int64 number, on the CPU or on that device.
        first_sample: the index of the first sample in the whole batch.
    """
    return _uniform(_words_like(samples, seed, first_sample)).to(samples.dtype)


def normal_like(samples: Tensor, seed: Tensor, first_sample: int) -> Tensor:
    """The same, normally distributed.

    Not by Box and Muller: PyTorch computes logarithms and cosines of a vector and of what is left
    over at its end in two ways, which round differently.
    """
    words = _words_like(samples, seed, first_sample)
    uniform = (words.to(torch.float64) + 0.5) * 2.0**-32  # never 0 nor 1
    return torch.special.ndtri(uniform).to(samples.dtype)


def _words_like(samples: Tensor, seed: Tensor, first_sample: int) -> Tensor:
    """A random 32-bit word for each element of ``samples``, as int64. The last word of the counter
    tells them from mixing factors."""
    batch, device = samples.shape[0], samples.device
    each = math.prod(samples.shape[1:])
    block = torch.arange(-(-each // 4), device=device).expand(batch, -1)
    index = torch.arange(first_sample, first_sample + batch, device=device)
    index = index.unsqueeze(1).expand_as(block)
    counter = [index & _MASK, (index >> 32) & _MASK, block, torch.ones_like(block)]
    words = philox4x32_10(torch.stack(counter).flatten(1), _key(seed, device))
    return words.t().reshape(batch, -1)[:, :each].reshape(samples.shape)


def _key(seed: Tensor, device: torch.device) -> Tensor:
    seed = seed.reshape(()).to(device, non_blocking=True)
    return torch.stack([seed & _MASK, (seed >> 32) & _MASK])


def _uniform(words: Tensor) -> Tensor:
    return (words >> 8).to(torch.float32) * 2.0**-24
