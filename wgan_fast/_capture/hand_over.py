"""A scalar whose gradients are known already, for the caller's ``backward()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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
