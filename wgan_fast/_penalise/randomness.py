"""Everything random that a critic may draw from, kept so that it can be drawn again."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states


class Randomness:
    """The states of the random generators as they are now.

    These are Python's, NumPy's and PyTorch's on the CPU and on some devices, and those given.

    Args:
        tensors: on whose devices.
        generators: those that the critic keeps itself, see :func:`is_generator`.
    """

    def __init__(self, tensors: Iterable[Tensor], generators: Iterable[Any] = ()) -> None:
        on = {t.device: t for t in tensors if t.device.type not in ("cpu", "meta")}
        self._device_type = next((device.type for device in on), "cpu")
        self._device_states = get_device_states(*on.values())
        numpy = _numpy_random()
        self._setters: list[tuple[Callable[[Any], Any], Any]] = [
            (random.setstate, random.getstate()),
            (torch.set_rng_state, torch.get_rng_state()),
            *([(numpy.set_state, numpy.get_state(legacy=False))] if numpy else []),
            *(_setter_and_state(generator) for generator in generators),
        ]

    def restore(self) -> None:
        for set_state, state in self._setters:
            set_state(state)
        if self._device_states[0]:
            set_device_states(*self._device_states, device_type=self._device_type)


def is_generator(value: Any) -> bool:
    """Whether a value is a generator of random numbers whose state can be set."""
    if isinstance(value, torch.Generator | random.Random):
        return not isinstance(value, random.SystemRandom)  # has no state
    numpy = _numpy_random()
    return numpy is not None and isinstance(value, numpy.Generator | numpy.RandomState)


def _setter_and_state(generator: Any) -> tuple[Callable[[Any], Any], Any]:
    if isinstance(generator, torch.Generator):
        return generator.set_state, generator.get_state()
    if isinstance(generator, random.Random):
        return generator.setstate, generator.getstate()
    if hasattr(generator, "bit_generator"):
        bits = generator.bit_generator
        return lambda state: setattr(bits, "state", state), bits.state
    return generator.set_state, generator.get_state(legacy=False)


def _numpy_random() -> Any:
    """``numpy.random``, if somebody has loaded it: only then has somebody drawn from it."""
    return sys.modules.get("numpy.random")
