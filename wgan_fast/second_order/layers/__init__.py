"""The table of layers: whose second order is computed in another way than PyTorch's.

One file for each kind of layer says which of PyTorch's functions it replaces, how their arguments
are read, from how much work on that pays, and how the layer is computed (:class:`Layer`). To add
one, write its file and add it here: the critic's call, :func:`efficient_double_backward` and the
tests take it from this table.
"""

from .activations import ACTIVATION
from .attention import ATTENTION
from .convolution import CONVOLUTION
from .normalisations import NORMALISATION
from .recurrent import RECURRENT

LAYERS = (CONVOLUTION, ATTENTION, RECURRENT, ACTIVATION, NORMALISATION)

__all__ = ["ACTIVATION", "ATTENTION", "CONVOLUTION", "LAYERS", "NORMALISATION", "RECURRENT"]
