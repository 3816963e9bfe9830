"""Smooth activations, whose second order is one kernel.

PyTorch computes both gradients of an activation's backward pass by a chain of elementwise
operators, each of which reads and writes whole arrays. Here the activation and its backward pass
are PyTorch's own, and what differentiates that is ``wgan_fast.ops.activation_gradients``, which can
be differentiated in its turn, to any order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ..._torch_internals import is_batched
from ...ops import _native
from ...ops._activations import ACTIVATIONS
from ...ops._layout import as_one_piece, in_order_of
from ...ops.activation_gradients import ACTIVATION_GRADIENTS, plain_backward, plain_gradients
from .._layer import Layer
from .._recording import is_plainly_recorded, wanted_gradients


class Call(NamedTuple):
    """A call of one of PyTorch's activations.

    Args:
        activation: its name in ``ACTIVATIONS``.
        parameters: as the operators take them.
        function: PyTorch's own, of the input alone.
    """

    activation: str
    parameters: tuple[float, ...]
    function: Callable[[Tensor], Tensor]


Arguments = tuple[Tensor, Call]

_aten = torch.ops.aten


def _log_sigmoid_backward(grad: Tensor, x: Tensor) -> Tensor:
    return _aten.log_sigmoid_backward(grad, x, _aten.log_sigmoid_forward(x)[1])


def _elu_backward(grad: Tensor, x: Tensor, *parameters: float) -> Tensor:
    return _aten.elu_backward(grad, *parameters, False, x)


def _softsign_backward(grad: Tensor, x: Tensor) -> Tensor:
    divisor = x.abs().add_(1)
    return (grad / divisor).div_(divisor)  # a square could overflow


#: PyTorch's own backward passes, of the gradient, of what is kept of the forward pass, and of the
#: parameters.
_BACKWARD: dict[str, Callable[..., Tensor]] = {
    "silu": _aten.silu_backward,
    "gelu": _aten.gelu_backward,
    "gelu_tanh": functools.partial(_aten.gelu_backward, approximate="tanh"),
    "softplus": _aten.softplus_backward,
    "tanh": _aten.tanh_backward,
    "sigmoid": _aten.sigmoid_backward,
    "elu": _elu_backward,
    "mish": _aten.mish_backward,
    "hardswish": _aten.hardswish_backward,
    "log_sigmoid": _log_sigmoid_backward,
    "softsign": _softsign_backward,
}


class _Activation(Function):
    """``f(x)``"""

    passes_every_gradient = True

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> Tensor:
        ctx.set_materialize_grads(False)  # a gradient that was cut off must not return as zeros
        output = call.function(x)
        ctx.save_for_backward(output if ACTIVATIONS[call.activation].of_output else x)
        ctx.call = call
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None]:
        if grad is None:
            return None, None
        (x,) = ctx.saved_tensors
        return _backward(grad, x, ctx.call), None


class _ActivationBackward(Function):
    """``g f'(x)``"""

    passes_every_gradient = True

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, call: Call) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, x)
        ctx.call = call
        return _BACKWARD[call.activation](grad, x, *call.parameters)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if tangent is None:
            return None, None, None
        grad, x = ctx.saved_tensors
        call: Call = ctx.call
        # Where that of x alone is wanted, the kernel writes an array that nobody reads: it is rare.
        if not wanted_gradients(ctx)[1]:
            return _backward(tangent, x, call), None, None
        settings = (call.activation, list(call.parameters))
        if is_batched(tangent) or is_batched(grad):
            return *plain_gradients(x, grad, tangent, *settings), None
        x = as_one_piece(x)
        others = in_order_of(x, grad), in_order_of(x, tangent)
        return *ACTIVATION_GRADIENTS(x, *others, *settings), None


def _backward(grad: Tensor, x: Tensor, call: Call) -> Tensor:
    """``g f'(x)``, recorded for differentiation only where that goes on."""
    if not torch.is_grad_enabled():
        return _BACKWARD[call.activation](grad, x, *call.parameters)
    if is_batched(grad):
        return plain_backward(x, grad, call.activation, call.parameters)
    return _ActivationBackward.apply(grad, x, call)


def _can_replace(input: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and is_plainly_recorded(input, input)
        and input.dtype in _DTYPES
        and _native.serves(ACTIVATION_GRADIENTS.name, input.device.type)
    )


_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _read(
    activation: str, func: Callable[..., Tensor], input: Tensor, inplace: bool = False
) -> Arguments | None:
    if inplace or not _can_replace(input):
        return None
    return input, Call(activation, (), func)


def _read_gelu(func: Any, input: Tensor, *, approximate: str = "none") -> Arguments | None:
    if approximate not in ("none", "tanh") or not _can_replace(input):
        return None
    name = "gelu" if approximate == "none" else "gelu_tanh"
    return input, Call(name, (), functools.partial(func, approximate=approximate))


def _read_softplus(
    func: Any, input: Tensor, beta: float = 1, threshold: float = 20
) -> Arguments | None:
    # Where autocast is on, it may be computed in another dtype than the input's.
    if (
        not (_is_number(beta) and _is_number(threshold))
        or not _can_replace(input)
        or torch.is_autocast_enabled(input.device.type)
    ):
        return None
    parameters = (float(beta), float(threshold))
    function = functools.partial(func, beta=beta, threshold=threshold)
    return input, Call("softplus", parameters, function)


def _read_elu(
    func: Any, input: Tensor, alpha: float = 1.0, inplace: bool = False
) -> Arguments | None:
    if inplace or not _is_number(alpha) or not _can_replace(input):
        return None
    return input, Call("elu", (float(alpha), 1.0, 1.0), functools.partial(func, alpha=alpha))


def _read_celu(
    func: Any, input: Tensor, alpha: float = 1.0, inplace: bool = False
) -> Arguments | None:
    # Below zero it grows exponentially, and at zero it is an error.
    if inplace or not _is_number(alpha) or alpha <= 0 or not _can_replace(input):
        return None
    parameters = (float(alpha), 1.0, 1.0 / alpha)
    return input, Call("elu", parameters, functools.partial(func, alpha=alpha))


#: alpha, scale and input_scale: those of aten/src/ATen/native/Activation.cpp, after Klambauer et
#: al., "Self-normalizing neural networks", arXiv 1706.02515.
_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


def _read_selu(func: Any, input: Tensor, inplace: bool = False) -> Arguments | None:
    if inplace or not _can_replace(input):
        return None
    return input, Call("elu", _SELU, func)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


#: How many arrays of the size of its input PyTorch reads and writes for the recorded backward pass
#: of each activation, and for the backward pass of that, beyond those that are moved here.
SPARED = {
    "silu": 39,
    "gelu": 21,
    "gelu_tanh": 83,
    "softplus": 15,
    "tanh": 6,
    "sigmoid": 8,
    "elu": 11,
    "mish": 72,
    "hardswish": 8,
    "log_sigmoid": 9,
    "softsign": 86,
}

#: Elements that need not be moved below which two functions in Python take longer than that saves.
#: On one core of a Zen 4, three layers of 64 features, processor time of a second derivative: with
#: SiLU nothing was gained up to 2**19 and 1 % at 2**20, with Mish 5 % at 2**20, with tanh nothing
#: at 2**20; from 2**21 on all gained, SiLU 19 % at 2**21.
LEAST_WORK = 2**20

ACTIVATION = Layer(
    name="activation",
    # Those in place are PyTorch's: nn.SiLU(inplace=True), torch.tanh_.
    functions={
        **{
            function: functools.partial(_read, name)
            for name, functions in {
                "silu": (F.silu,),
                "tanh": (torch.tanh, Tensor.tanh),
                "sigmoid": (torch.sigmoid, Tensor.sigmoid, torch.special.expit),
                "mish": (F.mish,),
                "hardswish": (F.hardswish,),
                "log_sigmoid": (F.logsigmoid,),
                "softsign": (F.softsign,),
            }.items()
            for function in functions
        },
        F.gelu: _read_gelu,
        F.softplus: _read_softplus,
        F.elu: _read_elu,
        **dict.fromkeys((F.celu, torch.celu), _read_celu),
        **dict.fromkeys((F.selu, torch.selu), _read_selu),
    },
    call=_Activation.apply,
    work=lambda input, call: input.numel() * SPARED[call.activation],
    least_work=LEAST_WORK,
)
