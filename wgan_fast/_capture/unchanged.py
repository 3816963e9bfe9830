"""Runs a tape for nothing: to time it, to warm up, or because it was the wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from .._penalise.randomness import Randomness
from .tape import Tape


class Before:
    """The tape's constants and all random generators as they are now.

    Args:
        tape: what will run.
        inputs: its arguments.
    """

    def __init__(self, tape: Tape, inputs: Sequence[Tensor]) -> None:
        self._values = [(tensor, tensor.detach().clone()) for tensor in tape.state()]
        # A draw on a device may be all that there is of this device.
        on_device = torch.cuda.default_generators if "cuda" in tape.devices else ()
        self._randomness = Randomness(
            [*inputs, *tape.constants.values()], [*on_device, *tape.generators()]
        )

    def restore(self) -> None:
        for tensor, value in self._values:
            tensor.data.copy_(value)
        self._randomness.restore()


@contextmanager
def unchanged(tape: Tape, inputs: Sequence[Tensor]) -> Iterator[None]:
    """A context after which everything is as it was before."""
    before = Before(tape, inputs)
    try:
        yield
    finally:
        before.restore()
