"""Floating-point operations, counted exactly.

``torch.utils.flop_counter.FlopCounterMode`` also attributes them to modules, and for that cannot
look on while ``torch.autograd.grad`` is asked for the gradients of leaves. This counts only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import conv_flop_count, flop_registry

from .counting import Counting


def _convolution_backward_flops(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    output_mask: list[bool],
    **_: Any,
) -> int:
    """As much as a forward pass for each gradient; PyTorch's own formula is wrong for groups."""
    forward = conv_flop_count(
        list(input.shape), list(weight.shape), list(grad_output.shape), transposed=transposed
    )
    return sum(output_mask[:2]) * forward


def _linear_flops(a: torch.Tensor, b: torch.Tensor, *_: Any, **__: Any) -> int:
    """Of ``a bᵀ``, by oneDNN; PyTorch has no formula for it."""
    return 2 * a.numel() * b.shape[0]


_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
    **(
        {torch.ops.mkldnn._linear_pointwise: _linear_flops}
        if hasattr(torch.ops.mkldnn, "_linear_pointwise")
        else {}
    ),
}


class FlopCounter(Counting):
    """Counts the operations of convolutions, matrix products and attention while it is entered.

    >>> with FlopCounter() as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
    >>> counter.flops
    60
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_operator: Counter[str] = Counter()

    @property
    def flops(self) -> int:
        return self.by_operator.total()

    def count(
        self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        formula = _FORMULAS.get(operator._overloadpacket)
        if formula is not None:
            name = operator._overloadpacket.__name__
            self.by_operator[name] += formula(*args, **kwargs, out_val=result)


def flops_of(call: Callable[[], object]) -> int:
    """The floating-point operations of ``call()``."""
    with FlopCounter() as counter:
        call()
    return counter.flops
