"""Which of PyTorch's gradient functions belong to functions that are linear piece by piece.

Linear without an added constant: ``f(a x) = a f(x)`` for every ``a > 0``. A function that adds a
constant (a bias) is not here, but is recorded when it is called; see ``added_constants.py``.
"""

from __future__ import annotations

from typing import Any

from torch.autograd.graph import Node

from .._torch_internals import node_type, output_shapes

#: Of one input, at position 0.
_UNARY = [
    *("View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "Squeeze", "Unsqueeze", "Expand"),
    *("Permute", "Transpose", "Slice", "Select", "Split", "SplitWithSizes", "Unbind", "Chunk"),
    *("Index", "IndexSelect", "Gather", "Flip", "Roll", "Unfold", "Im2Col", "Col2Im"),
    *("PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "Neg", "Mean", "Sum", "Cumsum"),
    *("Relu", "LeakyRelu", "RreluWithNoise", "Abs", "Hardshrink", "Amax", "Amin", "Max", "Min"),
    *("Sort", "Topk", "NativeDropout", "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D"),
    *("ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D", "AvgPool2D", "AvgPool3D"),
    *("AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "MaxPool2D", "MaxPool2DWithIndices"),
    *("MkldnnMaxPool2D", "MaxPool3DWithIndices", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D"),
    *("UpsampleNearest1D", "UpsampleNearest2D", "UpsampleNearest3D", "UpsampleNearestExact1D"),
    *("UpsampleNearestExact2D", "UpsampleNearestExact3D", "UpsampleLinear1D"),
    *("UpsampleBilinear2D", "UpsampleBilinear2DAa", "UpsampleBicubic2D", "UpsampleBicubic2DAa"),
    "UpsampleTrilinear3D",
]

#: Products, of which one factor may depend on the critic's input: at these positions.
_PRODUCTS = {
    "MulBackward0": (0, 1),
    "MulBackward1": (0,),
    "DivBackward0": (0,),
    "DivBackward1": (0,),
    "BmmBackward0": (0, 1),
    "PreluKernelBackward0": (0,),
    "GridSampler2DBackward0": (0,),
}

_LINEAR: dict[type[Node], tuple[int, ...]] = {
    kind: positions
    for name, positions in (
        *((f"{name}Backward{overload}", (0,)) for name in _UNARY for overload in range(5)),
        *_PRODUCTS.items(),
    )
    if (kind := node_type(name)) is not None
}

_EXPAND, _INDEX = node_type("ExpandBackward0"), node_type("IndexBackward0")
_PERMUTE = node_type("PermuteBackward0")
#: Where a node keeps along which dimensions it works.
_DIMENSIONS = ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1", "_saved_dimension")


def linear_inputs(node: Node) -> tuple[int, ...]:
    """The positions at which a function is linear piece by piece, without a constant; or none."""
    return _LINEAR.get(type(node), ())


def keeps_samples_apart(node: Any, batch: int) -> bool:
    """Whether row b of each output is made of row b of the input alone, as far as can be told."""
    shapes = output_shapes(node)
    if shapes is None or any(len(shape) == 0 or shape[0] != batch for shape in shapes):
        return False
    if batch == 1:
        return True
    dims = len(shapes[0])
    if type(node) is _EXPAND:
        return len(node._saved_self_sym_sizes) == dims
    if type(node) is _INDEX:
        return node._saved_indices[0] is None
    if type(node) is _PERMUTE:
        return node._saved_dims[0] % dims == 0
    along = [d for name in _DIMENSIONS for d in _as_tuple(getattr(node, name, ()))]
    along = [d - 2**64 if d >= 2**63 else d for d in along]  # negative ones are kept unsigned
    # A function that reduces them has fewer dimensions than its input.
    return 0 not in along and not any(-d in (dims, dims + len(along)) for d in along)


def _as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value or ())
