"""One walk over the graph of some gradients: where it can be cut, and what that leaves out."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .._torch_internals import (
    ACCUMULATE_GRAD,
    CAN_CUT,
    function_of,
    is_complex,
    is_module_hook,
    node_type,
    transforms_active,
)
from .zero_gradients import PRODUCTS, SILENT_GRADIENTS, SPARSE_GRADIENTS, ZERO_GRADIENTS

Edge = tuple[Node | None, int]


def _by_type(table: dict[str, tuple[int, ...]]) -> dict[type, tuple[int, ...]]:
    """Keyed by PyTorch's own types, which nothing else can be mistaken for."""
    types = ((node_type(name), indices) for name, indices in table.items())
    return {kind: indices for kind, indices in types if kind is not None}


#: Kinds of nodes leave this table where they turn out not to give zeros; see ``prune.py``.
ZERO = _by_type(ZERO_GRADIENTS)
_silent = _by_type(SILENT_GRADIENTS)
_special = ZERO.keys() | _silent.keys()
_products = frozenset(filter(None, map(node_type, PRODUCTS)))
_sparse = frozenset(filter(None, map(node_type, SPARSE_GRADIENTS)))


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
        # Zeros that arrive there may be answered by gradients: these are visited again.
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
        self._visited, self._perhaps, self._spared = surely, perhaps, frozenset(spared)
        # What gets nothing in PyTorch: nobody waits for its zeros, yet there may be more to cut.
        if self._behind_silent:
            self._flood(self._behind_silent, surely | perhaps)
            self.cuts.count = len(self.to_cut)

    def reaches(self, nodes: Iterable[Node]) -> bool:
        """Whether one of some nodes may get a gradient although the cuts are made."""
        if self._perhaps is not self._visited:
            return not self._perhaps.isdisjoint(nodes)
        return any(node in self._visited and node not in self._spared for node in nodes)

    def leaves(self) -> list[Tensor]:
        """The leaves of the graph."""
        nodes = (node for node in self._visited if type(node) is ACCUMULATE_GRAD)
        return [node.variable for node in nodes]  # type: ignore[attr-defined]

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
            if type(node) in ZERO:
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
        zero = ZERO.get(type(node), ())
        if zero and type(node) is _SGN and is_complex(node):  # it turns with its number
            zero = ()
        silent = _silent.get(type(node), ())
        if silent and getattr(node, "_saved_train", False):
            silent = ()  # a batch normalisation that uses the statistics of the batch
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
