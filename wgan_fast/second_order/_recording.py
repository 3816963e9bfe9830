"""What a function that stands in for one of PyTorch's must know of the recording of gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._torch_internals import (
    forward_mode_active,
    is_asked_for,
    is_leaf_node,
    transforms_active,
    will_run,
)

_PLAIN = (Tensor, torch.nn.Parameter)
#: An attribute of points whose gradient nobody asks for any more.
_UNASKED = "_wgan_fast_unasked"


def is_plainly_recorded(input: Tensor, weight: Tensor) -> bool:
    """Whether a product of the two is recorded by autograd, for reverse mode and nothing else."""
    return (
        input.requires_grad
        and torch.is_grad_enabled()
        and input.is_floating_point()
        and weight.is_floating_point()
        and type(input) in _PLAIN
        and type(weight) in _PLAIN
        and input.layout is torch.strided
        and not transforms_active()
        and not forward_mode_active()
    )


def wanted_gradients(ctx: Any) -> list[bool]:
    """Of which of its tensors this backward pass wants the gradient.

    ``ctx.needs_input_grad`` tells which tensors require one, also in a pass that asks only for the
    gradient of the critic's input: the weights' would be computed for nothing.
    """
    return [
        edge is not None and will_run(edge) and not _is_for_nobody(edge)
        for edge, _ in ctx.next_functions
    ]


def ask_no_more_for(points: Tensor) -> None:
    """From now on, backward passes leave out the gradient of these points, a leaf, unless
    ``torch.autograd.grad`` asks for it."""
    vars(points)[_UNASKED] = True


def _is_for_nobody(node: Any) -> bool:
    return is_leaf_node(node) and _UNASKED in vars(node.variable) and not is_asked_for(node)
