"""A scalar whose gradients are known already, for the caller's ``backward()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._penalise.chunks import Once
from .._torch_internals import multiplied

#: Gives the results of a graph: the loss, what is to be logged, and the gradients.
Run = Callable[[Sequence[Tensor]], list[Tensor]]

_WHY_ONCE = (
    "the result of a captured function can be differentiated only once, for its graph ends with "
    "the gradients; call the function itself (.eager of what captured() returned) where its "
    "gradients are to be differentiated in turn"
)


class HandOver(torch.autograd.Function):
    """Runs a graph, and keeps the gradients for the tensors that they belong to."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, inputs: Sequence[Tensor], logged: list[Tensor], count: int, *owners: Any
    ) -> Tensor:
        loss, *rest = run(inputs)
        logged += rest[:count]
        ctx.save_for_backward(*rest[count:])
        ctx.owners = owners
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gradients = multiplied(ctx.saved_tensors, grad)
        if torch.is_grad_enabled():
            pairs = zip(gradients, ctx.owners, strict=True)
            gradients = [Once.apply(gradient, owner, _WHY_ONCE) for gradient, owner in pairs]
        return None, None, None, None, *gradients


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
