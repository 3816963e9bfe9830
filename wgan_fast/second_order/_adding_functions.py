"""Functions that may add a constant to what depends on the critic's input, as they are called.

How the arguments of each are read, and what the constant contributes to a score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

#: What a constant contributes to the score by each row, ``[rows]``, from the score's gradient with
#: respect to the sum that it is added to, ``[rows, *]``.
Contribution = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Operand:
    """What a recorded function is linear in.

    Args:
        node: of the graph that it comes from; None if nothing can be differentiated there.
        shape: its shape; that of a number is empty.
        contribution: what it contributes if it is a constant; None if it must not be one.
    """

    node: Node | None
    shape: Sequence[int]
    contribution: Contribution | None = None


@dataclass(slots=True)
class Call:
    """A call of a function that is a sum of operands, each multiplied by something.

    Args:
        operands: what is added up.
        factors: the nodes of what it is multiplied by.
        work: about how many multiplications that takes.
        edge: of what was returned.
        shape, dtype: of the same.
    """

    operands: list[Operand]
    factors: list[Node | None] = field(default_factory=list)
    work: int = 0
    edge: GradientEdge | None = None
    shape: Sequence[int] = ()
    dtype: torch.dtype | None = None

    def keeps_samples_apart(self, operand: Operand, batch: int) -> bool:
        """Whether sample b of the result is made of sample b of an operand alone."""
        if not self.shape or batch == 1:
            return bool(self.shape)
        # An operand of fewer dimensions would have its samples elsewhere than along the first.
        return (
            len(operand.shape) >= len(self.shape)
            and operand.shape[0] == self.shape[0]
            and self.shape[0] % batch == 0
        )


class ChangedInPlaceError(RuntimeError):
    """What was to be looked at again is not there any more."""


def _node_of(tensor: Any) -> Node | None:
    if not isinstance(tensor, Tensor) or not tensor.requires_grad:
        return None
    return get_gradient_edge(tensor).node


def _operand(value: Any, contribution: Contribution | None = None) -> Operand:
    shape = value.shape if isinstance(value, Tensor) else ()
    return Operand(_node_of(value), shape, contribution)


def _as_added(value: Any) -> Callable[[], Any]:
    """Gives a constant again when its contribution is computed, if it is still what was added."""
    if not isinstance(value, Tensor):
        return lambda: value
    if value.layout is not torch.strided:
        raise TypeError  # its products would be sparse
    version = value._version

    def again() -> Tensor:
        if value._version != version:
            raise ChangedInPlaceError
        # Buffers may be changed by the critic's next call, before this one is differentiated.
        return value.clone() if value.is_leaf else value

    return again


# What a constant contributes, by how it is added.


def _of_last_dimension(bias: Tensor) -> Contribution:
    again = _as_added(bias)

    def contribution(adjoint: Tensor) -> Tensor:
        rows = adjoint.flatten(1, -2).sum(1) if adjoint.dim() > 2 else adjoint
        return rows @ again()

    return contribution


def _of_channels(bias: Tensor) -> Contribution:
    again = _as_added(bias)

    def contribution(adjoint: Tensor) -> Tensor:
        rows = adjoint.flatten(2).sum(2) if adjoint.dim() > 2 else adjoint
        return rows @ again()

    return contribution


def _elementwise(value: Any, factor: Any = 1) -> Contribution:
    again = _as_added(value)

    def contribution(adjoint: Tensor) -> Tensor:
        return _sum_of_rows(adjoint * (again() if factor == 1 else again() * factor))

    return contribution


def _sum_of_rows(each: Tensor) -> Tensor:
    return each.flatten(1).sum(1) if each.dim() > 1 else each


def _of_part(value: Tensor, dim: int, start: int) -> Contribution:
    whole, size = _elementwise(value), value.shape[dim]
    return lambda adjoint: whole(adjoint.narrow(dim, start, size))


# How the arguments of each function are read.


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call | None:
    if input.dim() < 2:
        return None  # one sample, or many of one number each, which it mixes
    operands = [_operand(input)]
    if bias is not None:
        plain = bias.shape == weight.shape[:1]
        operands.append(_operand(bias, (_of_last_dimension if plain else _elementwise)(bias)))
    work = input.numel() * (weight.shape[0] if weight.dim() > 1 else 1)
    return Call(operands, [_node_of(weight)], work)


def _convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *_: Any, **__: Any
) -> Call | None:
    if input.dim() != weight.dim():
        return None  # a single sample, without a batch
    operands = [_operand(input)]
    if bias is not None:
        operands.append(_operand(bias, _of_channels(bias)))
    positions = input.numel() // max(1, input.shape[1])
    return Call(operands, [_node_of(weight)], positions * weight.numel())


def _addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Call | None:
    if beta != 1 or alpha != 1:
        return None
    operands = [_operand(mat1), _operand(input, _elementwise(input))]
    return Call(operands, [_node_of(mat2)], mat1.numel() * mat2.shape[1])


def _matmul(input: Tensor, other: Tensor) -> Call | None:
    """A product whose rows are the samples'; of two tensors of three dimensions, each sample's."""
    if input.dim() < 2 or other.dim() > 2:
        return None
    return Call([_operand(input)], [_node_of(other)], input.numel() * other.shape[-1])


def _sum_of(first: Any, second: Any, first_factor: Any, second_factor: Any) -> Call:
    return Call(
        [
            _operand(first, _elementwise(first, first_factor)),
            _operand(second, _elementwise(second, second_factor)),
        ]
    )


def _add(input: Any, other: Any, *, alpha: Any = 1) -> Call:
    return _sum_of(input, other, 1, alpha)


def _subtract(input: Any, other: Any, *, alpha: Any = 1) -> Call:
    return _sum_of(input, other, 1, -alpha)


def _in_place(read: Callable[..., Call]) -> Callable[..., Call]:
    """Reads the arguments of a function whose first argument has another value afterwards."""

    def read_in_place(*args: Any, **kwargs: Any) -> Call:
        call = read(*args, **kwargs)
        call.operands[0].contribution = None
        return call

    return read_in_place


def _subtract_from(input: Any, other: Any, *, alpha: Any = 1) -> Call:
    return _sum_of(input, other, -alpha, 1)


def _concatenate(tensors: Any, dim: int = 0) -> Call | None:
    dim %= tensors[0].dim()
    if dim == 0:
        return None
    operands, start = [], 0
    for tensor in tensors:
        operands.append(_operand(tensor, _of_part(tensor, dim, start)))
        start += tensor.shape[dim]
    return Call(operands)


def _pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Call | None:
    if mode != "constant":
        return None  # which the graph tells
    operands = [_operand(input)]
    if value:
        frame = F.pad(torch.zeros_like(input), pad, value=value)
        operands.append(_operand(frame, _elementwise(frame)))
    # Not the dimension of the batch.
    return Call(operands) if len(pad) < 2 * input.dim() else None


def _masked_fill(input: Tensor, mask: Tensor, value: Any) -> Call | None:
    if isinstance(value, Tensor):
        return None
    filled = mask.to(input.dtype) * value
    return Call([_operand(input), _operand(filled, _elementwise(filled))])


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call | None:
    """In evaluation mode it multiplies each channel, and adds a number to it."""
    if training or running_mean is None or running_var is None:
        return None
    shift = -running_mean * torch.rsqrt(running_var + eps)
    shift = shift if weight is None else shift * weight
    shift = shift if bias is None else shift + bias
    return Call(
        [_operand(input), Operand(None, (), _of_channels(shift))],
        [_node_of(weight), _node_of(bias)],
    )


def _saturating(function: Callable[..., Tensor]) -> Callable[..., Call | None]:
    """Reads the arguments of an elementwise function that is constant, or adds one, in parts."""

    def read(input: Tensor, *args: Any, **kwargs: Any) -> Call | None:
        if any(isinstance(bound, Tensor) for bound in (*args, *kwargs.values())):
            return None
        version = input._version

        def contribution(adjoint: Tensor) -> Tensor:
            if input._version != version:
                raise ChangedInPlaceError
            with torch.enable_grad():
                x = input.detach().requires_grad_()
                y = function(x, *args, **kwargs)
            (slope,) = torch.autograd.grad(y.sum(), x)
            return _sum_of_rows(adjoint * (y.detach() - slope * x.detach()))

        return Call([_operand(input), Operand(None, (), contribution)])

    return read


def _spellings(reader: Any, *names: str) -> Iterator[tuple[Any, Any]]:
    for name in names:
        for owner in (torch, Tensor, F):
            function = getattr(owner, name, None)
            if function is not None:
                yield function, reader


READERS: dict[Any, Callable[..., Call | None]] = dict(
    [
        *_spellings(_linear, "linear"),
        *_spellings(_convolution, *(f"conv{t}{n}d" for n in (1, 2, 3) for t in ("", "_transpose"))),
        *_spellings(_addmm, "addmm"),
        *_spellings(_matmul, "matmul", "mm", "__matmul__"),
        *_spellings(_add, "add", "__add__", "__radd__"),
        *_spellings(_in_place(_add), "add_", "__iadd__"),
        *_spellings(_subtract, "sub", "subtract", "__sub__"),
        *_spellings(_in_place(_subtract), "sub_", "__isub__"),
        *_spellings(_subtract_from, "rsub", "__rsub__"),
        *_spellings(_concatenate, "cat", "concat", "concatenate"),
        *_spellings(_pad, "pad"),
        *_spellings(_masked_fill, "masked_fill"),
        (F.batch_norm, _batch_norm),
        *(
            pair
            for name in ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6",
                         "softshrink", "threshold")
            for owner in (torch, Tensor, F)
            if (function := getattr(owner, name, None)) is not None
            for pair in [(function, _saturating(function))]
        ),
    ]
)  # fmt: skip
