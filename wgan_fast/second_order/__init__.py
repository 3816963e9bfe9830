"""Double backward at its floor: differentiate a critic twice, and do nothing twice or for nothing.

The room, from the door inwards:

- :func:`prune_zero_paths`, for anybody's gradients made with ``create_graph=True``: leaves out the
  paths of the double backward on which all is zero (``prune.py``; which these are, is in
  ``zero_gradients.py``).
- :func:`efficient_convolutions`, for anybody's critic call: convolutions whose second derivative
  costs no more than it has to (``convolution.py``), their gradients to any order
  (``convolution_gradients.py``), each computed in the fastest way (``convolution_backward.py``).
- :func:`twice_differentiable_backends`, likewise: attention and recurrent networks that can be
  differentiated twice (``backends.py``).
- Linear layers by the faster of PyTorch's two matrix products (``linear.py``).
- :class:`CriticCall` is all of it together, each where it pays: what the penalties use
  (``critic_call.py``).

It needs nothing but PyTorch, and nothing else in this package.
"""

from .backends import twice_differentiable_backends
from .convolution import efficient_convolutions
from .critic_call import CriticCall
from .prune import prune_zero_paths

__all__ = [
    "CriticCall",
    "efficient_convolutions",
    "prune_zero_paths",
    "twice_differentiable_backends",
]
