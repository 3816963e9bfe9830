r"""What a critic adds to that which depends on its input: biases, positions, embeddings of labels.

A critic :math:`D` that is linear piece by piece is the sum of what its input and each added
constant :math:`z_l` contribute (Euler's theorem on homogeneous functions):

.. math:: D(x) = \langle \nabla_x D(x), x \rangle
          + \sum_l \left\langle \frac{\partial D}{\partial z_l}, z_l \right\rangle

So its scores can be computed from its gradients, and a loss of these scores be differentiated by
the double backward of a gradient penalty, which is under way already.

The constants are recorded when the critic is called. Which of them count, and whether there is
nothing else than linear functions between the scores and the input, is then read off the graph: it
knows what depends on what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from ._graph import leading_to, nodes_of
from ._linear_functions import keeps_samples_apart, linear_inputs

#: What a constant contributes to each sample's score, ``[B]``, from the score's gradient with
#: respect to the sum that it is added to, ``[B, *]``.
Contribution = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Operand:
    """What a recorded function is linear in.

    Args:
        node: of the graph that it comes from; None if nothing can be differentiated there.
        contribution: what it contributes if it is a constant; None if it must not be one.
    """

    node: Node | None
    contribution: Contribution | None = None


@dataclass(slots=True)
class Call:
    """A call of a function that is a sum of operands, each multiplied by something.

    Args:
        operands: what is added up.
        factors: the nodes of what it is multiplied by.
        work: about how many multiplications that takes.
        edge: of what was returned.
        batch: how many rows that has.
    """

    operands: list[Operand]
    factors: list[Node | None] = field(default_factory=list)
    work: int = 0
    edge: GradientEdge | None = None
    batch: int = 0


@dataclass(slots=True)
class AddedConstants:
    """The constants of a critic that is linear piece by piece.

    Args:
        edges: the sums that they are added to, for ``torch.autograd.grad``.
        contributions: of each constant, with the index of its sum.
        leading: the nodes between the scores and the input.
        work: about how many multiplications one pass of the critic takes.
    """

    edges: list[GradientEdge] = field(default_factory=list)
    contributions: list[tuple[int, Contribution]] = field(default_factory=list)
    leading: set[Node] = field(default_factory=set)
    work: int = 0


class RecordingConstants(TorchFunctionMode):
    """While it is entered, this thread's calls of functions that may add a constant are recorded.

    Calls are not changed. What no function here knows of is not recorded, and found out later by
    its node in the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[Node, Call] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = _READERS.get(func)
        if read is None:
            return func(*args, **kwargs)
        try:
            call = read(*args, **kwargs)  # before the call, which may change its input in place
        except (TypeError, ValueError, AttributeError):
            call = None
        result = func(*args, **kwargs)
        if call is not None and isinstance(result, Tensor) and result.grad_fn is not None:
            call.edge, call.batch = (
                get_gradient_edge(result),
                result.shape[0] if result.dim() else 0,
            )
            self._calls[result.grad_fn] = call
        return result

    def constants(self, scores: Tensor, points: Tensor) -> AddedConstants | str:
        """The constants that count for ``scores``, or why the critic is none of this kind.

        Args:
            scores: what the critic returned, ``[B, *]``, with a graph.
            points: its input, ``[B, *]``, a leaf.
        """
        nodes = nodes_of(scores)
        found = AddedConstants(leading=leading_to(points, nodes))
        start = get_gradient_edge(points).node
        waiting = [scores.grad_fn]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if node is None or node is start:
                continue
            call = self._calls.get(node)
            before = (
                self._through(node, len(points), found.leading)
                if call is None
                else self._through_call(node, call, len(points), found)
            )
            if isinstance(before, str):
                return before
            new = [each for each in before if each not in seen]
            seen.update(new)
            waiting += new
        return found

    @staticmethod
    def _through(node: Node, batch: int, leading: set[Node]) -> list[Node] | str:
        """The nodes before one that was not recorded, which must be linear; or what is wrong."""
        edges = [each for each, _ in node.next_functions]
        positions = [index for index, each in enumerate(edges) if each in leading]
        if len(positions) != 1 or positions[0] not in linear_inputs(node):
            return f"{type(node).__name__} is not known to be linear piece by piece"
        if not keeps_samples_apart(node, batch):
            return f"{type(node).__name__} may mix the samples of the batch"
        return [each for each in edges if each is not None and each in leading]

    @staticmethod
    def _through_call(
        node: Node, call: Call, batch: int, found: AddedConstants
    ) -> list[Node] | str:
        """The same for one that was recorded, whose constants are noted."""
        if call.batch != batch:
            return f"{type(node).__name__} has not one row for each sample"
        if any(factor in found.leading for factor in call.factors):
            return f"{type(node).__name__} has weights that depend on the input"
        assert call.edge is not None
        found.work += call.work
        before: list[Node] = []
        for operand in call.operands:
            if operand.node is not None and operand.node in found.leading:
                before.append(operand.node)
            elif operand.contribution is None:
                return f"{type(node).__name__} adds a constant of unknown value"
            else:
                if not found.edges or found.edges[-1] is not call.edge:
                    found.edges.append(call.edge)
                found.contributions.append((len(found.edges) - 1, operand.contribution))
        return before


def _node_of(tensor: Any) -> Node | None:
    if not isinstance(tensor, Tensor) or not tensor.requires_grad:
        return None
    return get_gradient_edge(tensor).node


# What a constant contributes, by how it is added.


def _of_last_dimension(bias: Tensor) -> Contribution:
    def contribution(adjoint: Tensor) -> Tensor:
        rows = adjoint.flatten(1, -2).sum(1) if adjoint.dim() > 2 else adjoint
        return rows @ bias

    return contribution


def _of_channels(bias: Tensor) -> Contribution:
    def contribution(adjoint: Tensor) -> Tensor:
        rows = adjoint.flatten(2).sum(2) if adjoint.dim() > 2 else adjoint
        return rows @ bias

    return contribution


def _elementwise(value: Any, factor: Any = 1) -> Contribution:
    version = value._version if isinstance(value, Tensor) else None

    def contribution(adjoint: Tensor) -> Tensor:
        if version is not None and value._version != version:
            raise ChangedInPlaceError
        each = adjoint * (value if factor == 1 else value * factor)
        return each.flatten(1).sum(1) if each.dim() > 1 else each

    return contribution


def _of_part(value: Tensor, dim: int, start: int) -> Contribution:
    whole = _elementwise(value)
    return lambda adjoint: whole(adjoint.narrow(dim, start, value.shape[dim]))


# How the arguments of each function are read.


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    operands = [Operand(_node_of(input))]
    if bias is not None:
        operands.append(Operand(_node_of(bias), _of_last_dimension(bias)))
    work = input.numel() * (weight.shape[0] if weight.dim() > 1 else 1)
    return Call(operands, [_node_of(weight)], work)


def _convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *_: Any, **__: Any
) -> Call | None:
    if input.dim() != weight.dim():
        return None  # a single sample, without a batch
    operands = [Operand(_node_of(input))]
    if bias is not None:
        operands.append(Operand(_node_of(bias), _of_channels(bias)))
    positions = input.numel() // max(1, input.shape[1])
    return Call(operands, [_node_of(weight)], positions * weight.numel())


def _addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Call | None:
    if beta != 1 or alpha != 1:
        return None
    operands = [Operand(_node_of(mat1)), Operand(_node_of(input), _elementwise(input))]
    return Call(operands, [_node_of(mat2)], mat1.numel() * mat2.shape[1])


def _matmul(input: Tensor, other: Tensor) -> Call | None:
    """A product whose rows are the samples'; of two tensors of three dimensions, each sample's."""
    if input.dim() < 2 or other.dim() > 2:
        return None
    return Call([Operand(_node_of(input))], [_node_of(other)], input.numel() * other.shape[-1])


def _sum_of(first: Any, second: Any, first_factor: Any, second_factor: Any) -> Call:
    return Call(
        [
            Operand(_node_of(first), _elementwise(first, first_factor)),
            Operand(_node_of(second), _elementwise(second, second_factor)),
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
        operands.append(Operand(_node_of(tensor), _of_part(tensor, dim, start)))
        start += tensor.shape[dim]
    return Call(operands)


def _pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Call | None:
    if mode != "constant":
        return None  # which the graph tells
    operands = [Operand(_node_of(input))]
    if value:
        frame = F.pad(torch.zeros_like(input), pad, value=value)
        operands.append(Operand(None, _elementwise(frame)))
    # Not the dimension of the batch.
    return Call(operands) if len(pad) < 2 * input.dim() else None


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
        [Operand(_node_of(input)), Operand(None, _of_channels(shift))],
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
            return _elementwise(y.detach() - slope * x.detach())(adjoint)

        return Call([Operand(_node_of(input)), Operand(None, contribution)])

    return read


class ChangedInPlaceError(RuntimeError):
    """What was to be looked at again is not there any more."""


def _spellings(reader: Any, *names: str) -> Iterator[tuple[Any, Any]]:
    for name in names:
        for owner in (torch, Tensor, F):
            function = getattr(owner, name, None)
            if function is not None:
                yield function, reader


_READERS: dict[Any, Callable[..., Call | None]] = dict(
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
        (F.batch_norm, _batch_norm),
        *(
            pair
            for name in ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6",
                         "softshrink", "threshold", "hardsigmoid")
            for owner in (torch, Tensor, F)
            if (function := getattr(owner, name, None)) is not None
            for pair in [(function, _saturating(function))]
        ),
    ]
)  # fmt: skip
