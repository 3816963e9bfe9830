"""wgan_fast: the WGAN-GP gradient penalty for PyTorch, exact and fast."""

from .penalties import fast_gradient_penalty

__all__ = ["fast_gradient_penalty"]
__version__ = "0.1.0"
