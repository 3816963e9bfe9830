"""The fused operators: ``random_interpolate``, ``interpolate`` and ``norm_penalty`` of a penalty;
``activation_gradients`` and the two passes of ``normalisation.py`` of the second order of layers.
"""

import torch
from torch import Tensor

from .._torch_internals import are_ordinary
from . import _native
from ._op import REGISTRY
from .activation_gradients import activation_gradients
from .interpolate import interpolate
from .norm_penalty import norm_penalty
from .normalisation import NORMALISATION_BACKWARD, NORMALISATION_DOUBLE_BACKWARD
from .random_interpolate import drawn_epsilon, random_interpolate


def has_kernels(samples: Tensor) -> bool:
    """Whether compiled kernels serve these samples, and their device."""
    served = _native.serves("random_interpolate", samples.device.type)
    return served and (are_ordinary(samples) or torch.compiler.is_compiling())


__all__ = [
    "NORMALISATION_BACKWARD",
    "NORMALISATION_DOUBLE_BACKWARD",
    "REGISTRY",
    "activation_gradients",
    "drawn_epsilon",
    "has_kernels",
    "interpolate",
    "norm_penalty",
    "random_interpolate",
]
