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

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from .._torch_internals import function_of
from ._adding_functions import READERS, Call, Contribution
from ._graph import leading_to, nodes_of
from ._linear_functions import keeps_samples_apart, linear_inputs


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
        self._changed = False
        self._detached: list[tuple[Tensor, int]] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():  # a part of the critic that stays in one piece so
            return func(*args, **kwargs)
        if func in _DETACHING:
            return self._watched(args[0], func(*args, **kwargs))
        if func == _DATA.__set__ and _is_of_a_graph(args[0]):
            self._changed = True
        if not torch.is_grad_enabled():
            with self._watching_for_changes(args, kwargs):
                return func(*args, **kwargs)
        read = READERS.get(func)
        if read is None:
            return func(*args, **kwargs)
        try:
            call = read(*args, **kwargs)  # before the call, which may change its input in place
        except Exception:
            call = None  # what is wrong with the arguments, the function itself will tell
        result = func(*args, **kwargs)
        if call is not None and isinstance(result, Tensor) and result.grad_fn is not None:
            call.edge = get_gradient_edge(result)
            call.shape, call.dtype = result.shape, result.dtype
            self._calls[result.grad_fn] = call
        return result

    def _watched(self, tensor: Tensor, detached: Tensor) -> Tensor:
        """What was detached from a tensor shares its memory, and may be changed in its place."""
        if _is_of_a_graph(tensor):
            self._detached.append((detached, detached._version))
        return detached

    @contextmanager
    def _watching_for_changes(self, args: Any, kwargs: Any) -> Iterator[None]:
        """Of changes in place that are not recorded the graph knows nothing."""
        given = [tensor for tensor in (*args, *kwargs.values()) if isinstance(tensor, Tensor)]
        versions = [(tensor, tensor._version) for tensor in given if _is_of_a_graph(tensor)]
        yield
        if any(tensor._version != version for tensor, version in versions):
            self._changed = True

    def constants(self, scores: Tensor, points: Tensor) -> AddedConstants | str:
        """The constants that count for ``scores``, or why the critic is none of this kind.

        Args:
            scores: what the critic returned, ``[B, *]``, with a graph.
            points: its input, ``[B, *]``, a leaf.
        """
        detached_changed = any(tensor._version != version for tensor, version in self._detached)
        if self._changed or detached_changed:
            return "a tensor has been changed in place, and that not recorded"
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
                self._through(node, points.shape[0], found.leading)
                if call is None
                else self._through_call(node, call, points, found)
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
            return f"{_name_of(node)} is not known to be linear piece by piece"
        if not keeps_samples_apart(node, positions[0], batch):
            return f"{type(node).__name__} may mix the samples of the batch"
        return [each for each in edges if each is not None and each in leading]

    @staticmethod
    def _through_call(
        node: Node, call: Call, points: Tensor, found: AddedConstants
    ) -> list[Node] | str:
        """The same for one that was recorded, whose constants are noted."""
        if call.dtype != points.dtype:
            return f"{type(node).__name__} is computed in {call.dtype}"
        if any(factor in found.leading for factor in call.factors):
            return f"{type(node).__name__} has weights that depend on the input"
        assert call.edge is not None
        found.work += call.work
        before: list[Node] = []
        for operand in call.operands:
            if operand.node is not None and operand.node in found.leading:
                if not call.keeps_samples_apart(operand, points.shape[0]):
                    return f"{type(node).__name__} may mix the samples of the batch"
                before.append(operand.node)
            elif operand.contribution is None:
                return f"{type(node).__name__} adds a constant of unknown value"
            else:
                if not found.edges or found.edges[-1] is not call.edge:
                    found.edges.append(call.edge)
                found.contributions.append((len(found.edges) - 1, operand.contribution))
        return before


_DATA: Any = Tensor.data
_DETACHING = frozenset([torch.detach, Tensor.detach, _DATA.__get__])


def _is_of_a_graph(tensor: Tensor) -> bool:
    """Whether a tensor, or what it is a view of, was computed by what can be differentiated."""
    base = tensor._base
    return tensor.grad_fn is not None or (base is not None and base.grad_fn is not None)


def _name_of(node: Node) -> str:
    """What a node is called; one of this package's by the layer that it stands for."""
    name, function = type(node).__name__, function_of(node)
    is_ours = function is not None and function.__module__.startswith("wgan_fast.")
    return name.strip("_").removesuffix("Backward") if is_ours else name
