"""Critics whose input gradient cannot be differentiated in turn: errors that name the way out.

PyTorch's own come in the caller's ``backward()``, far from the penalty, and name an operation and
no remedy. In some cases there is none at all, and the critic would be trained wrongly: where a
function's backward pass hands on a gradient without a graph, and where one that is marked with
``once_differentiable`` comes last, or is passed by, because ``torch.autograd.grad`` was asked for
the gradients of some leaves only.

Nothing is raised as long as the penalty is only looked at: hooks in its graph raise when they are
met in a backward pass. They know no graph themselves, so that they make no cycles.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from .._per_critic import Memory, PerCritic
from .._torch_internals import (
    function_of,
    input_gradient,
    inputs_of,
    is_leaf_node,
    node_type,
    saved_tensors,
    transforms_active,
)
from .._tracing import can_look
from ..second_order._graph import leading_to, nodes_of
from ..second_order._recording import ask_no_more_for

#: The critics in whose graphs nothing was found. They are not looked through again.
_fine: PerCritic[bool] = PerCritic()

#: How a penalty does without a double backward.
BY_DIFFERENCES = 'double_backward="finite_difference"'


def input_gradient_to_differentiate(
    memory: Memory,
    scores: Tensor,
    points: Tensor,
    *,
    hooked: bool,
    pruned: bool,
    by_differences: str,
) -> Tensor | None:
    """The gradient of the sum of the scores, with a graph that can be differentiated, or tells why.

    Args:
        memory: what is known of the critic.
        scores: what it returned.
        points: where it was called: a leaf whose gradient is wanted this once.
        hooked: whether the critic put hooks on its tensors.
        pruned: whether attention and recurrent networks are called by backends that have one.
        by_differences: how to do without, as errors suggest it.

    Returns:
        ``[B, *]``, or None if the scores do not depend on ``points``.

    Raises:
        RuntimeError: if the gradient has no graph, although it should.
    """
    if _fine.get(memory) or transforms_active():
        gradients = input_gradient(scores, points, create_graph=True)
    else:
        gradients, fine = _looked_through(scores, points, pruned, by_differences)
        if fine:
            _fine.put(memory, True)
    if gradients is not None and not gradients.requires_grad:
        check_constant(scores, [points], hooked=hooked)
    ask_no_more_for(points)
    return gradients


def _looked_through(
    scores: Tensor, points: Tensor, pruned: bool, by_differences: str
) -> tuple[Tensor | None, bool]:
    """The input gradient, which refuses to be differentiated where that is impossible or wrong.

    And whether it is possible, which is unknown of a gradient without a graph.
    """
    nodes = nodes_of(scores)
    with _noticing(nodes) as lost:
        try:
            gradients = input_gradient(scores, points, create_graph=True)
        except RuntimeError as error:
            if "donated buffer" not in str(error):
                raise
            raise RuntimeError(_message(_COMPILED, pruned, by_differences)) from error
    if gradients is None or gradients.grad_fn is None:
        return gradients, False
    obstacles = list(_obstacles(nodes, points, gradients))
    if lost:
        obstacles.append((gradients.grad_fn, _LOST))
    for node, cause in obstacles:
        node.register_prehook(functools.partial(_refuse, _message(cause, pruned, by_differences)))
    return gradients, not obstacles


@contextlib.contextmanager
def _noticing(nodes: Iterable[Node]) -> Iterator[list[bool]]:
    """A context for a backward pass with a graph; gives a list that is empty if all kept theirs."""
    lost: list[bool] = []
    hooks = [n.register_hook(functools.partial(_notice, lost)) for n in nodes if _is_foreign(n)]
    try:
        yield lost
    finally:
        for hook in hooks:
            hook.remove()


def _notice(lost: list[bool], grad_inputs: Any, grad_outputs: Any) -> None:
    """A backward pass is linear: what goes in with a graph comes out with one, or is zero."""
    if any(grad is not None and grad.requires_grad for grad in grad_outputs):
        results = [grad for grad in grad_inputs if grad is not None]
        if not any(grad.requires_grad for grad in results) and any(map(_may_be_nonzero, results)):
            lost.append(True)


def _may_be_nonzero(grad: Tensor) -> bool:
    return grad.layout != torch.strided or not can_look(grad) or bool(grad.any())


def _refuse(message: str, _: Any) -> None:
    raise RuntimeError(message)


def _message(cause: str, pruned: bool, by_differences: str) -> str:
    """What stands in the way of a double backward, and the ways around it."""
    ways = [by_differences]
    if not pruned:
        ways.append('double_backward="pruned", which knows other ways for some layers')
    if cause is _COMPILED:
        ways.append("the critic that torch.compile was given")
    if "attention" in cause and pruned:
        ways.append("a critic that does not choose its attention by sdpa_kernel")
    return (
        f"the critic cannot be differentiated twice, which the gradient of its penalty asks for: "
        f"{cause}. Take {', or '.join(ways)}"
    )


def check_not_compiled(result: Tensor, name: str, instead: str) -> None:
    """What is to be differentiated twice must not come out of a graph of ``torch.compile``."""
    function = None if result.grad_fn is None else function_of(result.grad_fn)
    if function is not None and function.__module__.startswith(_COMPILED_MODULE):
        raise RuntimeError(
            f"{name} must not be computed by what was compiled: {_COMPILED}, "
            f"which a penalty is. Compute them outside of it, or take {instead}"
        )


def check_constant(scores: Tensor, points: Sequence[Tensor], *, hooked: bool) -> None:
    """The input gradient has no graph: that must be because it does not depend on a parameter.

    PyTorch's own functions can be believed.
    """
    nodes = nodes_of(scores)
    leaves = [node.variable for node in nodes if is_leaf_node(node)]  # type: ignore[attr-defined]
    trains = not all(any(leaf is each for each in points) for leaf in leaves)
    if trains and (hooked or any(map(_is_foreign, nodes))):
        raise RuntimeError(
            "the penalty would train nothing: the critic's scores depend on parameters, but the "
            "gradient with respect to its input was computed without a graph, by a function or a "
            'hook of the critic that detaches it. Take double_backward="finite_difference", or '
            "compute with differentiable operations in that backward pass"
        )


def _is_foreign(node: Node) -> bool:
    function = function_of(node)
    if function is not None:
        return not function.__module__.startswith("wgan_fast.")
    return node_type(type(node).__name__) is not type(node)


_COMPILED_MODULE = "torch._functorch."
_COMPILED = "torch.compile with aot_autograd does not currently support double backward"
_LOST = "it has a function whose backward pass lost the graph, by a detach() or a no_grad()"
_ONCE = "it has a function whose backward pass was marked with @once_differentiable"

_NOT_IMPLEMENTED, _ERROR = node_type("NotImplemented"), node_type("Error")
#: PyTorch's functions with a backward pass, for which none of its derivatives is implemented.
_WITHOUT = {
    node_type(f"{name}BackwardBackward0"): f"the derivative of {name}Backward is not implemented"
    for name in ("Cdist", "Pdist", "CudnnRnn", "EmbeddingBag", "EmbeddingBagDense")
}


def _obstacles(nodes: list[Node], points: Tensor, gradients: Tensor) -> Iterator[tuple[Node, str]]:
    """Nodes that must not be reached in the double backward, and why."""
    first = gradients.grad_fn
    assert first is not None
    for node in nodes_of(gradients):
        function = function_of(node)
        if function is not None and function.__module__.startswith(_COMPILED_MODULE):
            yield node, _COMPILED
        elif function is None and type(node) is _NOT_IMPLEMENTED:
            yield node, _own_words(node)
        elif function is None and type(node) is _ERROR:
            # It stands at the end of its path: who asks for the gradients of some leaves only
            # never gets there.
            yield first, _own_words(node)
        elif type(node) in _WITHOUT:
            yield node, _WITHOUT[type(node)]
    suspects = [node for node in nodes if _forgets_its_graph(node)]
    if suspects and not leading_to(points, nodes).isdisjoint(suspects):
        yield first, _ONCE


def _own_words(node: Any) -> str:
    """The message with which a node refuses to be run."""
    try:
        node(*(None,) * (inputs_of(node) or 1))
    except (RuntimeError, TypeError) as error:
        return str(error)
    return "an operation has no second derivative"


_ONCE_CODE = once_differentiable(lambda ctx: None).__code__


def _forgets_its_graph(node: Any) -> bool:
    """Whether a node's backward pass depends on its inputs, and cannot be differentiated."""
    function: Any = function_of(node)
    backward = getattr(function, "backward", None)
    while backward is not None and getattr(backward, "__code__", None) is not _ONCE_CODE:
        backward = getattr(backward, "__wrapped__", None)
    if backward is None:
        return False
    return bool(saved_tensors(node)) or any(isinstance(x, Tensor) for x in vars(node).values())
