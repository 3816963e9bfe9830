"""What a critic's call begins with, kept so that another call can begin alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states


class Snapshot:
    """The states of the random generators and the values of the critic's buffers, as they are now.

    Two calls of a critic that begin at the same snapshot drop the same units, and see the same
    estimates in a spectral normalisation.

    Args:
        module: whose buffers to keep, if it is known.
        samples: of the CPU's random generator and that of the device that these lie on.
    """

    def __init__(self, module: torch.nn.Module | None, samples: Tensor) -> None:
        self._buffers = [(b, b.clone()) for b in module.buffers()] if module else []
        self._cpu_state = torch.get_rng_state()
        self._device_type = samples.device.type
        self._device_states = get_device_states(samples)

    def restore(self) -> None:
        """Sets the generators and the buffers back."""
        torch.set_rng_state(self._cpu_state)
        if self._device_states[0]:
            set_device_states(*self._device_states, device_type=self._device_type)
        for buffer, value in self._buffers:
            # Not an in-place change to autograd: graphs that saved the buffer remain valid, and
            # nearly always the value is the same.
            buffer.data.copy_(value)
