"""Random numbers: the seed of the mixing factors, noise, and a random part of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def draw_seed(generator: torch.Generator | None, samples: Tensor) -> Tensor:
    """The seed of one draw of mixing factors, from the generator in use: one int64 number."""
    device = _quiet_device(generator, samples)
    return torch.randint(2**63 - 1, (), generator=generator, device=device)


def draw_factors(
    generator: torch.Generator | None, samples: Tensor, first_sample: int = 0
) -> Tensor:
    """Mixing factors, ``[B]``, the same numbers in every dtype and on every device: ``torch.rand``
    in float32. Those of the samples before the first one, of other processes, are drawn as well."""
    device = _quiet_device(generator, samples)
    count = first_sample + samples.shape[0]
    drawn = torch.rand(count, generator=generator, dtype=torch.float32, device=device)
    if first_sample:
        drawn = drawn[first_sample:]
    if samples.device != device:
        drawn = drawn.to(samples.device, non_blocking=True)
    return drawn.double() if samples.dtype == torch.float64 else drawn


def _quiet_device(generator: torch.Generator | None, samples: Tensor) -> torch.device:
    """Where the numbers of one penalty are drawn.

    On the CPU, where it costs no launch and no waiting. Only while a CUDA graph is being captured
    are they drawn on the device, so that every replay draws anew.
    """
    if generator is not None:
        return _device_of(generator, samples)
    if samples.is_cuda and torch.cuda.is_current_stream_capturing():
        return samples.device
    return torch.device("cpu")


def draw_like(
    draw: Callable[..., Tensor], samples: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Random numbers in the shape of the samples, by ``torch.rand`` or ``torch.randn``."""
    device = samples.device if generator is None else _device_of(generator, samples)
    drawn = draw(samples.shape, generator=generator, dtype=samples.dtype, device=device)
    return drawn.to(samples.device)


def size_of_subset(subset: float, batch: int) -> int:
    """How many samples of a batch make a part of it."""
    return max(1, round(subset * batch))


def draw_subset(subset: float, batch: int, generator: torch.Generator | None) -> Tensor:
    """The indices of a random part of the batch, in order, on the CPU."""
    count = size_of_subset(subset, batch)
    device = "cpu" if generator is None else generator.device
    return torch.randperm(batch, generator=generator, device=device)[:count].sort().values.cpu()


def _device_of(generator: torch.Generator, samples: Tensor) -> torch.device:
    if generator.device.type != "cpu" and generator.device != samples.device:
        raise ValueError(
            f"generator must be on the CPU or on the device of the samples, {samples.device}, "
            f"but it is on {generator.device}"
        )
    return generator.device
