"""Linear layers by the faster of the two matrix products that PyTorch brings along.

``F.linear`` multiplies float32 matrices by MKL, which is made for Intel's processors; convolutions
go by oneDNN. On AMD's Zen 5 MKL reached 46 % of oneDNN's speed: 215 against 471 GFLOP/s in products
of 1024x512 by 512x512 on two cores. There the linear layers of a critic go to oneDNN, for the one
call whose gradient is differentiated again; results differ from PyTorch's by rounding, no more than
those of the two libraries do. On Zen 4, where MKL reaches 91 %, whole penalties ran at 0.94 (batch
256) to 1.07 times (4096) the speed of PyTorch's: there, as everywhere else, nothing changes. What a
whole penalty gains on Zen 5 has not been measured yet, only the products.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .recording import is_plainly_recorded, wanted_gradients
from .replace import Replacement


@functools.cache
def is_onednn_faster() -> bool:
    """Whether this is such a processor, and a PyTorch that has both libraries.

    Zen 5 is the first of AMD's that has AVX-VNNI beside AVX-512.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return (
        capabilities.get("cpu_name", "").startswith("AMD")
        and capabilities.get("avx512_f", False)
        and capabilities.get("avx_vnni", False)
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def linear_layers(least_work: int = 0) -> dict[Any, Replacement]:
    """The replacement of ``F.linear``, for calls of at least so many multiplications."""

    def call(func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not _can_replace(input, weight, bias, least_work):
            return func(input, weight, bias)
        product = _Product.apply(input.flatten(0, -2), weight, bias)
        return product if input.dim() == 2 else product.unflatten(0, input.shape[:-1])

    return {F.linear: call}


def _can_replace(input: Tensor, weight: Tensor, bias: Tensor | None, least_work: int) -> bool:
    return (
        is_onednn_faster()
        and isinstance(input, Tensor)
        and isinstance(weight, Tensor)
        and input.dtype == weight.dtype == torch.float32
        and input.is_cpu
        and weight.is_cpu
        and (bias is None or (bias.is_cpu and bias.dtype == torch.float32))
        and input.dim() >= 2
        and weight.dim() == 2
        and input.shape[-1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and input.numel() * weight.shape[0] >= least_work
        and is_plainly_recorded(input, weight)
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(Function):
    """``a bᵀ + bias`` of ``a [M, K]`` and ``b [N, K]``.

    Its gradients, g b and gᵀ a, are products of the same kind, of (g, bᵀ) and of (gᵀ, aᵀ): it can
    be differentiated to any order.
    """

    passes_every_gradient = True

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        ctx.set_materialize_grads(False)  # a gradient that was cut off must not return as zeros
        ctx.save_for_backward(a, b)
        return _multiply(a, b, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None
        a, b = ctx.saved_tensors
        a_wanted, b_wanted, *bias_wanted = wanted_gradients(ctx)
        grad_a = _product(grad, b.t()) if a_wanted else None
        grad_b = _product(grad.t(), a.t()) if b_wanted else None
        return grad_a, grad_b, grad.sum(0) if bias_wanted == [True] else None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Recorded for differentiation only where that goes on."""
    return _Product.apply(a, b, None) if torch.is_grad_enabled() else _multiply(a, b, None)


def _multiply(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(a, b, bias, "none", [], "")
