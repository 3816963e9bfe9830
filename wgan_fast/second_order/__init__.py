"""The double backward, with nothing done twice or for nothing.

For anybody who differentiates a function's gradient again:

- :func:`efficient_double_backward`: all of it together, each part where it pays; what the penalties
  use (``context.py``; what pays for a critic is remembered in ``_profile.py``).
- :func:`prune_zero_paths`: leaves out the paths on which all is zero (``prune.py``; which these
  are, is in ``zero_gradients.py``).
- :func:`efficient_convolutions` and :func:`twice_differentiable_backends`: the layers that are
  computed otherwise, one file for each kind (``layers``).
- :func:`without_thresholds`: all of this for the smallest critics, too; for tests and benchmarks.

It knows nothing of penalties: of this package it needs the operators of ``ops``, and the modules
that all share (``_torch_internals.py``, ``_per_critic.py``, ``_tracing.py``,
``_being_captured.py``).
"""

from ._thresholds import without_thresholds
from .context import efficient_double_backward, twice_differentiable_backends
from .layers.convolution import efficient_convolutions
from .prune import prune_zero_paths

__all__ = [
    "efficient_convolutions",
    "efficient_double_backward",
    "prune_zero_paths",
    "twice_differentiable_backends",
    "without_thresholds",
]
