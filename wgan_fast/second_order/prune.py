"""Cuts the paths of a double backward that carry nothing but zeros.

PyTorch's derivative formulas for piecewise linear functions (ReLU, max pooling, ...) give zeros
for their second derivative, and autograd multiplies these zeros in every convolution and matrix
product of the forward graph: a third of the work of a gradient penalty. A hook that returns None in
their place makes autograd leave that out, and changes no number.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .._torch_internals import in_compiled_backward, node_type
from .._tracing import can_look
from ._walk import ZERO, Cuts, Stranded, Walk, find_cuts

#: A gradient function's own mark that it was hooked before.
_CUT = "wgan_fast.zero_paths_cut"
_PRELU = node_type("PreluKernelBackwardBackward0")

Gradients = Sequence[Tensor | None]


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
    a cut path led to gets its zeros from the returned tensor, sparse where PyTorch's are. To
    ``torch.autograd.grad``, a tensor that is no leaf and that only cut paths led to is unused.
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
    if torch.compiler.is_dynamo_compiling():  # which knows no hooks of a graph
        return gradients if isinstance(gradients, Tensor) else tuple(gradients)
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


@functools.cache
def _hook(kind: type[Node]) -> Callable[[Any, Any], tuple[Tensor | None, ...]]:
    """A hook that returns None for the gradients that are zero. It knows no graph: no cycles."""
    indices = ZERO[kind]

    def drop(
        grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        if in_compiled_backward():
            return grad_inputs
        # Zero, unless the gradient of the loss with respect to the slope was differentiated, too.
        if kind is _PRELU and grad_outputs[1] is not None:
            return grad_inputs
        if kind not in _trusted and not _is_trusted(kind, grad_inputs, grad_outputs):
            return grad_inputs
        return tuple(None if i in indices else grad for i, grad in enumerate(grad_inputs))

    def drop_second(
        grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        if kind not in _trusted or in_compiled_backward():
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
    if kind not in ZERO:
        return False
    dropped = [grad_inputs[i] for i in ZERO[kind] if i < len(grad_inputs)]
    dropped = [grad for grad in dropped if grad is not None]
    arrived = [grad for grad in grad_outputs if grad is not None]
    if not dropped or not can_look(*dropped, *arrived):
        return True  # for now
    if any(map(_has_values, dropped)):
        del ZERO[kind]
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
