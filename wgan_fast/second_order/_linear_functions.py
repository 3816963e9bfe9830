"""Which of PyTorch's gradient functions belong to functions that are linear piece by piece.

Linear without an added constant: ``f(a x) = a f(x)`` for every ``a > 0``. A function that adds a
constant (a bias) is not here, but is recorded when it is called; see ``added_constants.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.autograd.graph import Node

from .._torch_internals import node_type, output_shapes

#: Of one input, at position 0. These do the same to every row, or cannot but keep them in order:
_UNARY = [
    *("View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "Squeeze", "Unsqueeze", "Expand"),
    *("Slice", "Index", "Im2Col", "Col2Im", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
    *("Neg", "Relu", "LeakyRelu", "RreluWithNoise", "Abs", "Hardshrink", "NativeDropout"),
    *("ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D", "ReplicationPad1D"),
    *("ReplicationPad2D", "ReplicationPad3D", "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D"),
    *("AdaptiveAvgPool3D", "MaxPool2D", "MaxPool2DWithIndices", "MkldnnMaxPool2D"),
    *("MaxPool3DWithIndices", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D"),
    *("UpsampleNearest1D", "UpsampleNearest2D", "UpsampleNearest3D", "UpsampleNearestExact1D"),
    *("UpsampleNearestExact2D", "UpsampleNearestExact3D", "UpsampleLinear1D"),
    *("UpsampleBilinear2D", "UpsampleBilinear2DAa", "UpsampleBicubic2D", "UpsampleBicubic2DAa"),
    "UpsampleTrilinear3D",
]

#: The same, along some dimensions: these may mix the rows.
_ALONG_DIMENSIONS = [
    *("Permute", "Transpose", "Select", "Split", "SplitWithSizes", "Unbind", "IndexSelect"),
    *("Gather", "Flip", "Roll", "Unfold", "Mean", "Sum", "Cumsum", "Amax", "Amin", "Max", "Min"),
    *("Sort", "Topk"),
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


def _kinds(names: Iterable[str]) -> set[type[Node]]:
    """The types of the functions of some names, in all overloads that there are."""
    numbers = ("0", "1", "2", "3", "4", "0_copy")
    kinds = (node_type(f"{name}Backward{number}") for name in names for number in numbers)
    return {kind for kind in kinds if kind is not None}


_along_dimensions = _kinds(_ALONG_DIMENSIONS)
_LINEAR: dict[type[Node], tuple[int, ...]] = {
    **dict.fromkeys(_kinds(_UNARY) | _along_dimensions, (0,)),
    **{kind: p for name, p in _PRODUCTS.items() if (kind := node_type(name)) is not None},
}

#: These may give each sample another number of rows: what is contiguous stays together.
_REGROUPING = _kinds(["View", "UnsafeView", "ReshapeAlias"])
#: These may put dimensions before that of the batch.
_BROADCASTING = _kinds(["Expand", "Mul", "Div"])
_INDEX, _PERMUTE = node_type("IndexBackward0"), node_type("PermuteBackward0")
#: Where a node keeps along which dimensions it works.
_DIMENSIONS = ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1", "_saved_dimension")


def linear_inputs(node: Node) -> tuple[int, ...]:
    """The positions at which a function is linear piece by piece, without a constant; or none."""
    return _LINEAR.get(type(node), ())


def keeps_samples_apart(node: Any, position: int, batch: int) -> bool:
    """Whether sample b of each output is made of sample b of an input alone, if it was so before.

    Of a tensor with ``k * batch`` rows, ``[k * batch, *]``, sample b has k that lie together.

    Args:
        node: of a function that is linear in the input at ``position``.
        position: of the one input that depends on the critic's.
        batch: how many samples there are.
    """
    before, index = node.next_functions[position]
    shapes, inputs = output_shapes(node), output_shapes(before)
    if shapes is None or inputs is None or not all((*shapes, inputs[index])):
        return False
    if batch == 1:
        return True
    if type(node) in _REGROUPING:
        return all(shape[0] % batch == 0 for shape in shapes)
    rows, dims = inputs[index][0], len(inputs[index])
    if any(shape[0] != rows for shape in shapes):
        return False
    if type(node) in _BROADCASTING:
        return len(shapes[0]) == dims
    if type(node) is _INDEX:
        return _indexes_behind_the_first(getattr(node, "_saved_indices", ()))
    if type(node) not in _along_dimensions:
        return True
    given = [getattr(node, name) for name in _DIMENSIONS if hasattr(node, name)]
    along = [[_signed(dim) % dims for dim in _as_tuple(each)] for each in given]
    if type(node) is _PERMUTE:
        return [each[0] for each in along] == [0]
    return bool(along) and all(each and 0 not in each for each in along)  # none: all of them


def _indexes_behind_the_first(indices: tuple[Any, ...]) -> bool:
    """Whether an index leaves the first dimension where it is.

    Several tensors with a slice between them put what they choose first: ``x[:, i, :, j]``.
    """
    chosen = [dim for dim, index in enumerate(indices) if index is not None]
    return bool(chosen) and chosen[0] > 0 and chosen[-1] - chosen[0] == len(chosen) - 1


def _signed(dim: int) -> int:
    """A dimension as it was given: negative ones are kept unsigned."""
    return dim - 2**64 if dim >= 2**63 else dim


def _as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value or ())
