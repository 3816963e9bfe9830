"""Random numbers: the seed of the mixing factors, noise, and a random part of the batch.

With ``first_sample``, they are those of some samples of a global batch, which several processes
share. What is taken from the generator then depends neither on the number of samples nor on their
place: processes that began with one seed go on with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ops import philox
from ..ops._layout import spread_like
from . import checks


def draw_seed(generator: torch.Generator | None, samples: Tensor) -> Tensor:
    """The seed of one draw of mixing factors, from the generator in use: one int64 number."""
    device = _quiet_device(generator, samples)
    return torch.randint(2**63 - 1, (), generator=generator, device=device)


def draw_factors(generator: torch.Generator | None, samples: Tensor) -> Tensor:
    """Mixing factors, ``[B]``, the same numbers in every dtype and on every device: ``torch.rand``
    in float32."""
    device = _quiet_device(generator, samples)
    count = samples.shape[0]
    drawn = torch.rand(count, **_given(generator), dtype=torch.float32, device=device)
    if samples.device != device:
        drawn = drawn.to(samples.device, non_blocking=True)
    return spread_like(drawn.double() if samples.dtype == torch.float64 else drawn, samples)


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


def draw_uniform(
    samples: Tensor, generator: torch.Generator | None, first_sample: int | None
) -> Tensor:
    """A number in [0, 1) for each element of the samples, by ``torch.rand`` or by Philox."""
    if first_sample is None:
        return _draw_like(torch.rand, samples, generator)
    seed = draw_seed(generator, samples)
    return spread_like(philox.uniform_like(samples, seed, first_sample), samples)


def draw_normal(
    samples: Tensor, generator: torch.Generator | None, first_sample: int | None
) -> Tensor:
    """The same, normally distributed."""
    if first_sample is None:
        return _draw_like(torch.randn, samples, generator)
    seed = draw_seed(generator, samples)
    return spread_like(philox.normal_like(samples, seed, first_sample), samples)


def _draw_like(
    draw: Callable[..., Tensor], samples: Tensor, generator: torch.Generator | None
) -> Tensor:
    device = samples.device if generator is None else _device_of(generator, samples)
    drawn = draw(samples.shape, **_given(generator), dtype=samples.dtype, device=device)
    return spread_like(drawn.to(samples.device), samples)


def _given(generator: torch.Generator | None) -> dict[str, Any]:
    """The keyword, if there is a generator: with None, PyTorch takes no symbolic shapes."""
    return {} if generator is None else {"generator": generator}


def size_of_subset(subset: float, batch: int) -> int:
    """How many samples of a batch make a part of it."""
    return max(1, round(subset * batch))


def draw_subset(
    subset: float, batch: int, generator: torch.Generator | None, first_sample: int | None = None
) -> Tensor:
    """The indices of a random part of the batch, in order, on the CPU.

    With ``first_sample``, of the part of the global batch that lies in this one: every sample whose
    steps of length ``subset``, from a random start on, pass an integer (systematic sampling). Each
    is taken with the probability ``subset``, and of any B in a row ``subset * B``, rounded up or
    down. No process has to know how many others there are.
    """
    device = "cpu" if generator is None else generator.device
    if first_sample is not None:
        checks.check_subset_of_process(subset, batch)
        start = torch.rand((), generator=generator, dtype=torch.float64, device=device).cpu()
        last = first_sample + batch
        index = torch.arange(first_sample, last + 1, dtype=torch.float64, device="cpu")
        return (index * subset + start).floor().diff().nonzero().flatten()
    count = size_of_subset(subset, batch)
    return torch.randperm(batch, generator=generator, device=device)[:count].sort().values.cpu()


def _device_of(generator: torch.Generator, samples: Tensor) -> torch.device:
    if generator.device.type != "cpu" and generator.device != samples.device:
        raise ValueError(
            f"generator must be on the CPU or on the device of the samples, {samples.device}, "
            f"but it is on {generator.device}"
        )
    return generator.device
