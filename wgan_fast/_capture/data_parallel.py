"""Losses whose critics are called through DistributedDataParallel.

It averages gradients in the backward pass, for which each forward pass makes ready.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .._being_captured import being_captured


@contextlib.contextmanager
def bypassing(wrappers: Sequence[nn.Module]) -> Iterator[None]:
    """A context in which DistributedDataParallel is its module and nothing more.

    It would make ready for a backward pass that never comes. To threads that are not recorded it is
    what it was.
    """
    if not wrappers:
        yield
        return

    before = DistributedDataParallel.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if being_captured():
            return self.module(*args, **kwargs)
        return before(self, *args, **kwargs)

    DistributedDataParallel.forward = forward
    try:
        yield
    finally:
        DistributedDataParallel.forward = before


def through_wrappers(wrappers: Sequence[Any], run: Callable[[], Tensor]) -> Tensor:
    """Makes a loss while DistributedDataParallel expects one.

    Before a forward pass it exchanges the buffers, and after it makes ready to average the
    gradients of the graph of what the pass returned. The pass here is the whole captured graph.

    Args:
        wrappers: whose modules the loss was computed with.
        run: makes the loss, connected to its parameters.
    """
    if not wrappers:
        return run()
    wrapper, *others = wrappers
    module = wrapper.module
    wrapper.module = _Pass(module, lambda: through_wrappers(others, run))
    try:
        return wrapper()
    finally:
        wrapper.module = module


class _Pass(nn.Module):
    """Stands in for a module for one forward pass; its buffers are the module's."""

    def __init__(self, module: nn.Module, run: Callable[[], Tensor]) -> None:
        super().__init__()
        self.named_buffers = module.named_buffers
        self._run = run

    def forward(self) -> Tensor:
        return self._run()
