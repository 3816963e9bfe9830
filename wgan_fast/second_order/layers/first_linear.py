"""A linear layer of the points themselves: nobody asks for their gradient in the loss's pass.

The penalty's points are made for it. Their gradient is wanted once, when the penalty is computed.
The backward pass of the loss would compute it again, and nobody would use it: one matrix product,
as large as that of the layer. PyTorch cannot be told so for a tensor that requires a gradient; here
it is left out by ``wanted_gradients``, as it is for convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .._layer import Layer
from .._recording import is_plainly_recorded, wanted_gradients

Arguments = tuple[Tensor, Tensor, "Tensor | None"]


class _Linear(Function):
    """``x wᵀ + b``"""

    passes_every_gradient = True
    is_product = True

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.set_materialize_grads(False)  # a gradient that was cut off must not return as zeros
        ctx.save_for_backward(input, weight)
        return F.linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None
        input, weight = ctx.saved_tensors
        wanted = wanted_gradients(ctx)
        return (
            grad @ weight if wanted[0] else None,
            grad.t() @ input if wanted[1] else None,
            grad.sum(0) if wanted[2:] == [True] else None,
        )


def _read(func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Arguments | None:
    if (
        not input.is_leaf
        or input.dim() != 2
        or weight.dim() != 2
        or not is_plainly_recorded(input, weight)
        or (bias is not None and not is_plainly_recorded(input, bias))
        or (bias is not None and bias.shape != weight.shape[:1])  # it could be broadcast
        or torch.is_autocast_enabled(input.device.type)
        or torch.compiler.is_compiling()
    ):
        return None
    return input, weight, bias


def _work(input: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    return input.numel() * weight.shape[0]


#: Replaced beside other layers only (``context.py``): a critic that is linear piece by piece never
#: comes back to its points. Below this work, the function in Python takes as long as the product.
FIRST_LINEAR = Layer(
    name="first linear",
    functions={F.linear: _read},
    call=_Linear.apply,
    work=_work,
    least_work=2**23,
)
