"""Every way to call each smooth activation."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from wgan_fast.second_order._layer import Replacing
from wgan_fast.second_order.layers import ACTIVATION

#: What is replaced: functions, methods, and modules that call them. CELU's 1 / alpha is exact here:
#: PyTorch rounds it to float32 in the backward pass.
REPLACED = {
    "F.silu": F.silu,
    "F.gelu": F.gelu,
    "F.gelu, tanh": functools.partial(F.gelu, approximate="tanh"),
    "F.softplus": F.softplus,
    "F.softplus, settings": lambda x: F.softplus(x, 2, 1.5),
    "F.softplus, keywords": lambda x: F.softplus(x, beta=0.5, threshold=0.7),
    "torch.tanh": torch.tanh,
    "Tensor.tanh": lambda x: x.tanh(),
    "F.tanh": F.tanh,
    "torch.sigmoid": torch.sigmoid,
    "Tensor.sigmoid": lambda x: x.sigmoid(),
    "F.sigmoid": F.sigmoid,
    "torch.special.expit": torch.special.expit,
    "F.elu": F.elu,
    "F.elu, alpha": lambda x: F.elu(x, 0.7),
    "F.celu": lambda x: F.celu(x, alpha=2.0),
    "torch.celu": lambda x: torch.celu(x, alpha=0.5),
    "F.selu": F.selu,
    "torch.selu": torch.selu,
    "F.mish": F.mish,
    "F.hardswish": F.hardswish,
    "F.logsigmoid": F.logsigmoid,
    "F.softsign": F.softsign,
    "by keyword": lambda x: F.silu(input=x),
    **{
        f"nn.{kind.__name__}": kind()
        for kind in (nn.SiLU, nn.GELU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.ELU, nn.CELU, nn.SELU)
    },
    **{
        f"nn.{kind.__name__}": kind()
        for kind in (nn.Mish, nn.Hardswish, nn.LogSigmoid, nn.Softsign)
    },
    "nn.GELU, tanh": nn.GELU("tanh"),
    "nn.Softplus, settings": nn.Softplus(3, 2),
}

#: What is left to PyTorch: in place, with an out tensor, or with parameters out of the ordinary.
LEFT = {
    "F.silu, in place": lambda x: F.silu(x, inplace=True),
    "F.elu_": F.elu_,
    "F.celu_": F.celu_,
    "F.selu_": F.selu_,
    "torch.selu_": torch.selu_,
    "torch.tanh_": torch.tanh_,
    "Tensor.tanh_": lambda x: x.tanh_(),
    "Tensor.sigmoid_": lambda x: x.sigmoid_(),
    "F.elu, in place": lambda x: F.elu(x, 0.5, True),
    "nn.Mish, in place": nn.Mish(inplace=True),
    "nn.Hardswish, in place": nn.Hardswish(inplace=True),
    "F.celu, negative": lambda x: F.celu(x, -1.0),
}


def replaced(function, x):
    with Replacing([ACTIVATION], always=True):
        return function(x)


def is_replaced(output):
    return type(output.grad_fn).__name__ == "_ActivationBackward"
