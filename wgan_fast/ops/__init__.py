"""The fused operators: ``random_interpolate``, ``interpolate`` and ``norm_penalty``."""

from ._op import REGISTRY
from .interpolate import interpolate
from .norm_penalty import norm_penalty
from .random_interpolate import drawn_epsilon, random_interpolate

__all__ = ["REGISTRY", "drawn_epsilon", "interpolate", "norm_penalty", "random_interpolate"]
