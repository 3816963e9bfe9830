"""The smooth activations whose second order the library has a kernel for."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: By the name of the module: PyTorch's function.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": F.silu,
    "GELU": F.gelu,
    "GELU (tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "Softplus": F.softplus,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "ELU, CELU, SELU": F.elu,
    "Mish": F.mish,
    "Hardswish": F.hardswish,
    "LogSigmoid": F.logsigmoid,
    "Softsign": F.softsign,
}
