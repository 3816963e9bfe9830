"""wgan_fast: the WGAN-GP gradient penalty for PyTorch, exact and fast."""

from importlib import metadata as _metadata

from . import distributed as distributed
from ._penalise.options import FiniteDifference
from .captured import Captured, captured
from .critic_loss import CriticLossParts, Penalty, critic_loss
from .diagnostics import GradientNorms, gradient_norms
from .frozen import frozen
from .gradient_penalty import fast_gradient_penalty
from .lazy import Lazy
from .losses import (
    clip_weights_,
    gan_critic_loss,
    hinge_critic_loss,
    hinge_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_critic_loss,
    relativistic_generator_loss,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from .path_length import PathLength, path_length_penalty
from .penalties import (
    dragan_penalty,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from .penalties_of_scores import gradient_penalty_of, r1_penalty_of
from .regularisers import approximate_r1, consistency_term
from .second_order import (
    efficient_convolutions,
    efficient_double_backward,
    prune_zero_paths,
    twice_differentiable_backends,
)

__all__ = [
    "Captured",
    "CriticLossParts",
    "FiniteDifference",
    "GradientNorms",
    "Lazy",
    "PathLength",
    "Penalty",
    "approximate_r1",
    "captured",
    "clip_weights_",
    "consistency_term",
    "critic_loss",
    "dragan_penalty",
    "efficient_convolutions",
    "efficient_double_backward",
    "fast_gradient_penalty",
    "frozen",
    "gan_critic_loss",
    "gradient_norms",
    "gradient_penalty_of",
    "hinge_critic_loss",
    "hinge_generator_loss",
    "max_gradient_penalty",
    "minimax_generator_loss",
    "non_saturating_generator_loss",
    "path_length_penalty",
    "prune_zero_paths",
    "r1_penalty",
    "r1_penalty_of",
    "r2_penalty",
    "relativistic_critic_loss",
    "relativistic_generator_loss",
    "twice_differentiable_backends",
    "wasserstein_critic_loss",
    "wasserstein_generator_loss",
    "wgan_div_penalty",
]
try:
    __version__ = _metadata.version("wgan_fast")
except _metadata.PackageNotFoundError:  # a source folder on the path, and nothing installed
    __version__ = "0+source"
