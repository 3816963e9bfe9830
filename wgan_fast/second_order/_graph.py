"""Questions to a graph of gradient functions: what is in it, and what leads where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import Node

from .._torch_internals import is_leaf_node


def nodes_of(result: Tensor) -> list[Node]:
    """All nodes of the graph that a tensor was computed by."""
    nodes = [] if result.grad_fn is None else [result.grad_fn]
    seen = set(nodes)
    for node in nodes:
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return nodes


def leaves_of(result: Tensor) -> list[Tensor]:
    """The leaf tensors that a result was computed from and that require a gradient."""
    return [node.variable for node in nodes_of(result) if is_leaf_node(node)]  # type: ignore[attr-defined]


def leading_to(leaf: Tensor, nodes: Iterable[Node]) -> set[Node]:
    """The nodes from which a leaf is reached."""
    before: defaultdict[Node | None, list[Node]] = defaultdict(list)
    for node in nodes:
        for following, _ in node.next_functions:
            before[following].append(node)
    waiting = [n for n in nodes if is_leaf_node(n) and n.variable is leaf]  # type: ignore[attr-defined]
    found = set(waiting)
    while waiting:
        new = [node for node in before[waiting.pop()] if node not in found]
        found.update(new)
        waiting.extend(new)
    return found
