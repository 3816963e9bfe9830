"""Cuts the paths of a double backward that carry nothing but zeros.

PyTorch's derivative formulas for piecewise linear functions (ReLU, max pooling, ...) give zeros
for their second derivative, and these zeros then travel through every convolution and matrix
product of the forward graph: a third of the work of a gradient penalty. A hook that hands on None
in their place ends the journey where it begins, and changes no number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node
from torch.nn.modules._functions import BackwardHookFunction

from .zero_gradients import SILENT_GRADIENTS, ZERO_GRADIENTS

_functions: Any = torch._C._functions  # type: ignore[attr-defined]

#: A gradient function's own mark that it was hooked before.
_CUT = "wgan_fast.zero_paths_cut"

Gradients = Sequence[Tensor | None]
Edge = tuple[Node | None, int]


def _by_type(table: dict[str, tuple[int, ...]]) -> dict[type, tuple[int, ...]]:
    """Keyed by PyTorch's own types, which nothing else can be mistaken for."""
    return {
        getattr(_functions, name): indices
        for name, indices in table.items()
        if hasattr(_functions, name)
    }


_zero = _by_type(ZERO_GRADIENTS)
_silent = _by_type(SILENT_GRADIENTS)
_special = _zero.keys() | _silent.keys()


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

    Gradients: those that PyTorch gives, bit for bit, to any order, and zeros where it gives zeros:
    a leaf that only a cut path led to gets its zeros from the returned tensor. Only of a tensor
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
    _check(gradients)
    given = [gradient for gradient in gradients if gradient is not None]
    pruned = iter(with_zero_gradients(given, cut_zero_paths(given).stranded))
    return tuple(None if gradient is None else next(pruned) for gradient in gradients)


def _check(gradients: Any) -> None:
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


class Cuts(NamedTuple):
    """What cutting has come to.

    Args:
        count: the number of functions behind which the graph is cut.
        stranded: the leaves that only cut paths lead to. PyTorch gives these zeros; from here on
            they get nothing, unless :func:`with_zero_gradients` gives them their zeros back.
    """

    count: int
    stranded: list[Tensor]


def cut_zero_paths(gradients: Iterable[Tensor]) -> Cuts:
    """Cuts the graph of ``gradients``."""
    if torch._C._are_functorch_transforms_active():  # their graphs cannot be told zeros
        return Cuts(0, [])
    walk = _Walk([g.grad_fn for g in gradients if g.grad_fn is not None])
    if walk.has_module_hooks:
        return Cuts(0, [])
    for node in walk.to_cut:
        metadata: Any = node.metadata  # a dictionary, whatever PyTorch's annotation says
        if _CUT not in metadata:
            metadata[_CUT] = True
            node.register_hook(_hook(type(node)))
    return Cuts(len(walk.to_cut), walk.stranded)


class _Walk:
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
        # What gets zeros in PyTorch, and will get nothing.
        self.stranded = self._flood(self._behind_cuts, surely)
        # What gets nothing in PyTorch: nobody waits for its zeros, yet there may be more to cut.
        if self._behind_silent:
            self._flood(self._behind_silent, surely | perhaps)

    def _follow(self, starts: list[Node], seen: set[Node], *, custom_too: bool) -> None:
        waiting = _unseen(starts, seen)
        while waiting:
            node = waiting.pop()
            edges = node.next_functions
            if type(node) in _special:
                edges = self._put_aside(node, edges)
            elif isinstance(node, BackwardCFunction):
                self._notice(node)
                if not custom_too and not _passes_every_gradient(node):
                    self._behind_custom += _ends(edges, tuple(range(len(edges))))
                    continue
            for following, _ in edges:
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)

    def _flood(self, starts: list[Node], seen: set[Node]) -> list[Tensor]:
        """Goes everywhere and returns the leaves on the way."""
        leaves: list[Tensor] = []
        waiting = _unseen(starts, seen)
        while waiting:
            node = waiting.pop()
            kind = type(node)
            if kind is _functions.AccumulateGrad:
                leaves.append(node.variable)  # type: ignore[attr-defined]
            elif kind in _zero:
                self._put_aside(node, node.next_functions)
            elif isinstance(node, BackwardCFunction):
                self._notice(node)
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return leaves

    def _put_aside(self, node: Node, edges: tuple[Edge, ...]) -> list[Edge]:
        """Sorts out the edges of ``node`` that are zero or silent, and returns the others."""
        zero = _zero.get(type(node), ())
        if zero and type(node) is _functions.SgnBackward0 and _is_complex(node):
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

    def _notice(self, node: Any) -> None:
        if node._forward_cls is BackwardHookFunction:
            self.has_module_hooks = True


def _unseen(nodes: list[Node], seen: set[Node]) -> list[Node]:
    new = list(dict.fromkeys(node for node in nodes if node not in seen))
    seen.update(new)
    return new


def _ends(edges: tuple[Edge, ...], indices: tuple[int, ...]) -> list[Node]:
    ends = [edges[index][0] for index in indices if index < len(edges)]
    return [node for node in ends if node is not None]


def _is_complex(node: Any) -> bool:
    """The sign of a complex number turns with the number: it has a derivative."""
    return node._input_metadata[0].dtype.is_complex


def _passes_every_gradient(node: Any) -> bool:
    return getattr(node._forward_cls, "passes_every_gradient", False)


@functools.cache
def _hook(kind: type[Node]) -> Callable[[Any, Any], tuple[Tensor | None, ...]]:
    """A hook that hands on None for the gradients that are zero. It knows no graph: no cycles."""
    indices = _zero[kind]

    def drop(grad_inputs: tuple[Tensor | None, ...], _: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if i in indices else grad for i, grad in enumerate(grad_inputs))

    def drop_second(grad_inputs: tuple[Tensor | None, ...], _: Any) -> tuple[Tensor | None, ...]:
        return grad_inputs[0], None

    def drop_prelu(
        grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        # Zero, unless the gradient of the loss with respect to the slope was differentiated, too.
        if grad_outputs[1] is None:
            grad_inputs = grad_inputs[0], None, grad_inputs[2]
        return grad_inputs

    if kind is _functions.PreluKernelBackwardBackward0:
        return drop_prelu
    return drop_second if kind.__name__.endswith("BackwardBackward0") else drop


def with_zero_gradients(results: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """The same results, from which ``leaves`` get gradients of zeros."""
    if not leaves:
        return list(results)
    connected = _WithZeroGradients.apply(len(results), *results, *leaves)
    return list(connected)


class _WithZeroGradients(torch.autograd.Function):
    passes_every_gradient = True

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.leaves = tensors[count:]
        # Not the tensors themselves: autograd would take the results for views of them, and forbid
        # to change them in place.
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *grads, *[torch.zeros_like(leaf) for leaf in ctx.leaves]
