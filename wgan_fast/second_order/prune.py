"""Cuts the paths of a double backward that carry nothing but zeros.

PyTorch's derivative formulas for piecewise linear functions (ReLU, max pooling, ...) give zeros
for their second derivative, and these zeros then travel through every convolution and matrix
product of the forward graph: a third of the work of a gradient penalty. A hook that hands on None
in their place ends the journey where it begins, and changes no number.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .._torch_internals import (
    ACCUMULATE_GRAD,
    CAN_CUT,
    function_of,
    is_batched,
    is_complex,
    is_module_hook,
    node_type,
    transforms_active,
)
from .zero_gradients import PRODUCTS, SILENT_GRADIENTS, SPARSE_GRADIENTS, ZERO_GRADIENTS

#: A gradient function's own mark that it was hooked before.
_CUT = "wgan_fast.zero_paths_cut"

Gradients = Sequence[Tensor | None]
Edge = tuple[Node | None, int]


def _by_type(table: dict[str, tuple[int, ...]]) -> dict[type, tuple[int, ...]]:
    """Keyed by PyTorch's own types, which nothing else can be mistaken for."""
    types = ((node_type(name), indices) for name, indices in table.items())
    return {kind: indices for kind, indices in types if kind is not None}


#: Kinds of nodes leave this table where they turn out not to give zeros; see ``_is_trusted``.
_zero = _by_type(ZERO_GRADIENTS)
_silent = _by_type(SILENT_GRADIENTS)
_special = _zero.keys() | _silent.keys()
_products = frozenset(filter(None, map(node_type, PRODUCTS)))
_sparse = frozenset(filter(None, map(node_type, SPARSE_GRADIENTS)))


@overload
def prune_zero_paths(gradients: Tensor) -> Tensor: ...


@overload
def prune_zero_paths(gradients: Gradients) -> tuple[Tensor | None, ...]: ...


def prune_zero_paths(gradients: Tensor | Gradients) -> Tensor | tuple[Tensor | None, ...]:
    """The same gradients, whose double backward leaves out the paths on which all is zero.

    The second derivative of a piecewise linear function is zero wherever there is one. This finds
    every such function in the graph of ``gradients`` and cuts the graph behind it. What is zero
    only by chance stays, and so does everything unknown.

    Args:
        gradients: what ``torch.autograd.grad(..., create_graph=True)`` returned, a tensor or a
            sequence of tensors, any shape, dtype and device; None where an input was unused. Those
            given together are taken to be used together.

    Returns:
        The gradients, to be used in place of those given, with the same values. A tensor for a
        tensor, a tuple for a sequence.

    Raises:
        TypeError: if ``gradients`` is anything else.

    Gradients: those that PyTorch gives, to any order and in forward mode; in the same bits, unless
    a gradient that lies otherwise in memory makes PyTorch add up in another order. A leaf that only
    a cut path led to gets its zeros from the returned tensor, sparse where PyTorch's are. Only of a
    tensor
    that is no leaf and that only cut paths led to, ``torch.autograd.grad`` says that it is unused.
    A hook that ``Tensor.register_hook`` put on a tensor inside the function that was differentiated
    is called with None on a cut path, where PyTorch calls it with zeros. Where a module has full
    backward hooks, and inside a ``torch.func`` transform, nothing is cut.

    Source: the cut formulas, one by one, are in ``wgan_fast/second_order/zero_gradients.py``; what
    they cost is in ``docs/double-backward.md``.

    Example:
        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        ... )
        >>> x = torch.randn(8, 2, requires_grad=True)
        >>> (gradients,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        >>> gradients = prune_zero_paths(gradients)
        >>> gradients.square().sum().backward()
        >>> critic[0].bias.grad.count_nonzero()
        tensor(0)
    """
    if isinstance(gradients, Tensor):
        return with_zero_gradients([gradients], cut_zero_paths([gradients]).stranded)[0]
    check_gradients(gradients)
    given = [gradient for gradient in gradients if gradient is not None]
    pruned = iter(with_zero_gradients(given, cut_zero_paths(given).stranded))
    return tuple(None if gradient is None else next(pruned) for gradient in gradients)


def check_gradients(gradients: Any) -> None:
    """``gradients`` must be a sequence of tensors and None."""
    if not isinstance(gradients, Sequence) or isinstance(gradients, str):
        raise TypeError(
            f"gradients must be a tensor or a sequence of tensors, but it is a "
            f"{type(gradients).__name__}"
        )
    for index, gradient in enumerate(gradients):
        if gradient is not None and not isinstance(gradient, Tensor):
            raise TypeError(
                f"gradients must hold tensors and None only, but gradients[{index}] is a "
                f"{type(gradient).__name__}"
            )


@dataclass
class Stranded:
    """A leaf that only cut paths lead to. PyTorch gives it zeros; from here on it gets nothing,
    unless :func:`with_zero_gradients` gives it its zeros back.

    Args:
        leaf: the leaf.
        sparse: the nodes that give it a sparse gradient, if nothing else leads to it.
    """

    leaf: Tensor
    sparse: list[Node]

    def zeros(self) -> Tensor:
        """The zeros that PyTorch would have given the leaf."""
        if not self.sparse:
            return torch.zeros_like(self.leaf)
        with torch.no_grad():
            return functools.reduce(torch.add, map(_sparse_zeros, self.sparse))


@dataclass
class Cuts:
    """What cutting has come to.

    Args:
        count: the number of functions behind which the graph is cut.
        stranded: the leaves that only cut paths lead to.
        walked: how many nodes were looked at to find out.
        spared: how many nodes the double backward leaves out.
        spared_products: how many of these are matrix products or convolutions.
    """

    count: int = 0
    stranded: list[Stranded] = field(default_factory=list)
    walked: int = 0
    spared: int = 0
    spared_products: int = 0


def find_cuts(gradients: Iterable[Tensor]) -> Walk | None:
    """What there is to cut in the graph of ``gradients``; None where nothing may be cut."""
    if not CAN_CUT or transforms_active():  # the graphs of transforms cannot be told zeros
        return None
    walk = Walk([g.grad_fn for g in gradients if g.grad_fn is not None])
    return None if walk.has_module_hooks else walk


def cut(walk: Walk | None) -> Cuts:
    """Cuts what was found."""
    if walk is None:
        return Cuts()
    for node in walk.to_cut:
        metadata: Any = node.metadata  # a dictionary, whatever PyTorch's annotation says
        if _CUT not in metadata:
            metadata[_CUT] = True
            node.register_hook(_hook(type(node)))
    return walk.cuts


def cut_zero_paths(gradients: Iterable[Tensor]) -> Cuts:
    """Cuts the graph of ``gradients``."""
    return cut(find_cuts(gradients))


class Walk:
    """One walk over a graph: what to cut in it, and which leaves that strands.

    Linear in the size of the graph: each node is visited once, or twice behind a custom function.
    """

    def __init__(self, roots: list[Node]) -> None:
        self.to_cut: list[Node] = []
        self.has_module_hooks = False
        self._behind_cuts: list[Node] = []
        self._behind_custom: list[Node] = []
        self._behind_silent: list[Node] = []
        self._partly_silent: list[Node] = []

        # What gets a gradient although the cuts are made. A custom function may answer with None,
        # so what only such a function leads to gets one perhaps.
        surely: set[Node] = set()
        self._follow(roots, surely, custom_too=False)
        perhaps = surely
        if self._behind_custom:
            perhaps = surely.copy()
            self._follow(self._behind_custom, perhaps, custom_too=True)
        # Zeros that arrive there may make the silent speak: these are visited again.
        surely.difference_update(self._partly_silent)
        reached = len(surely)
        # What gets zeros in PyTorch, and will get nothing.
        spared = self._flood(self._behind_cuts, surely)
        self.cuts = Cuts(
            count=len(self.to_cut),
            stranded=_stranded(spared),
            walked=reached + len(spared),
            spared=len(spared),
            spared_products=sum(map(_is_product, spared)),
        )
        self._visited = surely
        # What gets nothing in PyTorch: nobody waits for its zeros, yet there may be more to cut.
        if self._behind_silent:
            self._flood(self._behind_silent, surely | perhaps)
            self.cuts.count = len(self.to_cut)

    def count_weights(self) -> int:
        """How many numbers the leaves of the graph hold."""
        leaves = (node for node in self._visited if type(node) is ACCUMULATE_GRAD)
        return sum(node.variable.numel() for node in leaves)  # type: ignore[attr-defined]

    def _follow(self, starts: list[Node], seen: set[Node], *, custom_too: bool) -> None:
        waiting = _unseen(starts, seen)
        while waiting:
            node = waiting.pop()
            edges = node.next_functions
            if type(node) in _special:
                edges = self._put_aside(node, edges)
            elif (function := function_of(node)) is not None:
                self._notice(function)
                if not custom_too and not _passes_every_gradient(function):
                    self._behind_custom += _ends(edges, tuple(range(len(edges))))
                    continue
            for following, _ in edges:
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)

    def _flood(self, starts: list[Node], seen: set[Node]) -> list[Node]:
        """Goes everywhere and returns the nodes on the way."""
        waiting = _unseen(starts, seen)
        visited: list[Node] = []
        while waiting:
            node = waiting.pop()
            visited.append(node)
            if type(node) in _zero:
                self._put_aside(node, node.next_functions)
            elif (function := function_of(node)) is not None:
                self._notice(function)
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return visited

    def _put_aside(self, node: Node, edges: tuple[Edge, ...]) -> list[Edge]:
        """Sorts out the edges of ``node`` that are zero or silent, and returns the others."""
        zero = _zero.get(type(node), ())
        if zero and type(node) is _SGN and is_complex(node):  # it turns with its number
            zero = ()
        silent = _silent.get(type(node), ())
        behind_cut = _ends(edges, zero)
        if behind_cut:
            self.to_cut.append(node)
            self._behind_cuts += behind_cut
        if silent:
            self._partly_silent.append(node)
            self._behind_silent += _ends(edges, silent)
        return [edge for index, edge in enumerate(edges) if index not in (*zero, *silent)]

    def _notice(self, function: type) -> None:
        if is_module_hook(function):
            self.has_module_hooks = True


_SGN = node_type("SgnBackward0")
_PRELU = node_type("PreluKernelBackwardBackward0")


def _stranded(nodes: list[Node]) -> list[Stranded]:
    """The leaves among nodes that are left out."""
    leaves = {
        node: Stranded(node.variable, [])  # type: ignore[attr-defined]
        for node in nodes
        if type(node) is ACCUMULATE_GRAD
    }
    sparse = {node: node.next_functions[0][0] for node in nodes if _is_sparse(node)}
    for node, leaf in sparse.items():
        if leaf in leaves:
            leaves[leaf].sparse.append(node)
    if sparse:  # a leaf that another function leads to as well gets a dense gradient
        for node in nodes:
            for following, _ in node.next_functions:
                if node not in sparse and following in leaves:
                    leaves[following].sparse.clear()
    return list(leaves.values())


def _is_sparse(node: Any) -> bool:
    if type(node) not in _sparse:
        return False
    return bool(getattr(node, "_saved_sparse", getattr(node, "_saved_sparse_grad", True)))


def _sparse_zeros(node: Any) -> Tensor:
    """What a node that gives sparse gradients makes of zeros."""
    metadata = node._input_metadata[0]
    zeros = node(torch.zeros(metadata.shape, dtype=metadata.dtype, device=metadata.device))
    return zeros[0] if isinstance(zeros, tuple) else zeros


def _is_product(node: Node) -> bool:
    return type(node) in _products or getattr(function_of(node), "is_product", False)


def _unseen(nodes: list[Node], seen: set[Node]) -> list[Node]:
    new = list(dict.fromkeys(node for node in nodes if node not in seen))
    seen.update(new)
    return new


def _ends(edges: tuple[Edge, ...], indices: tuple[int, ...]) -> list[Node]:
    ends = [edges[index][0] for index in indices if index < len(edges)]
    return [node for node in ends if node is not None]


def _passes_every_gradient(function: type) -> bool:
    return getattr(function, "passes_every_gradient", False)


@functools.cache
def _hook(kind: type[Node]) -> Callable[[Any, Any], tuple[Tensor | None, ...]]:
    """A hook that hands on None for the gradients that are zero. It knows no graph: no cycles."""
    indices = _zero[kind]

    def drop(
        grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        # Zero, unless the gradient of the loss with respect to the slope was differentiated, too.
        if kind is _PRELU and grad_outputs[1] is not None:
            return grad_inputs
        if kind not in _trusted and not _is_trusted(kind, grad_inputs, grad_outputs):
            return grad_inputs
        return tuple(None if i in indices else grad for i, grad in enumerate(grad_inputs))

    def drop_second(
        grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        if kind not in _trusted:
            return drop(grad_inputs, grad_outputs)
        return grad_inputs[0], None

    return drop_second if indices == (1,) and kind is not _PRELU else drop


#: The kinds of nodes that were seen to give zeros in this process.
_trusted: set[type[Node]] = set()


def _is_trusted(
    kind: type[Node],
    grad_inputs: tuple[Tensor | None, ...],
    grad_outputs: tuple[Tensor | None, ...],
) -> bool:
    """Looks, the first time that something is dropped behind a kind of node, whether it is zero.

    The table names PyTorch's generated classes: another release may give a name to another
    function. Such a kind is never cut again, and the gradient stays.
    """
    if kind not in _zero:
        return False
    dropped = [grad_inputs[i] for i in _zero[kind] if i < len(grad_inputs)]
    dropped = [grad for grad in dropped if grad is not None]
    arrived = [grad for grad in grad_outputs if grad is not None]
    if not dropped or not all(map(_can_be_looked_at, (*dropped, *arrived))):
        return True  # for now
    if any(map(_has_values, dropped)):
        del _zero[kind]
        warnings.warn(
            f"PyTorch {torch.__version__} gives gradients behind {kind.__name__} that wgan_fast "
            "takes for zero; they are kept, and nothing is cut there any more in this process. "
            'Please report it; double_backward="plain" does without all cuts.',
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    if any(map(_has_values, arrived)):  # of nothing, every function makes nothing
        _trusted.add(kind)
    return True


def _has_values(grad: Tensor) -> bool:
    return bool(grad.count_nonzero())


def _can_be_looked_at(grad: Tensor) -> bool:
    """Whether there are values: not while tracing, and not while a CUDA graph is captured."""
    return (
        type(grad) is Tensor
        and not grad.is_meta
        and not torch.compiler.is_compiling()
        and not is_batched(grad)
        and not (grad.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def with_zero_gradients(results: Sequence[Tensor], stranded: Sequence[Stranded]) -> list[Tensor]:
    """The same results, from which the stranded leaves get gradients of zeros."""
    if not stranded:
        return list(results)
    leaves = [each.leaf for each in stranded]
    connected = _WithZeroGradients.apply(len(results), stranded, *results, *leaves)
    return list(connected)


class _WithZeroGradients(torch.autograd.Function):
    passes_every_gradient = True

    @staticmethod
    def forward(
        ctx: Any, count: int, stranded: Sequence[Stranded], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.count, ctx.stranded = count, stranded
        # Not the tensors themselves: autograd would take the results for views of them, and forbid
        # to change them in place.
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, *grads, *[each.zeros() for each in ctx.stranded]

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(tangents[2 : 2 + ctx.count])
