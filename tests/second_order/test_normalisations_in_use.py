"""Normalisations that are replaced, among everything else that people do with a critic."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.second_order.normalisations import (
    critic_of,
    each_layer,
    efficient,
    is_replaced,
    layer_of,
    needs_kernels,
)
from tests.second_order.twice import (
    assert_exact,
    assert_identical,
    by_grad,
    leaves_of,
    penalty_of,
    points,
)

pytestmark = [
    needs_kernels,
    # PyTorch's own, when its forward mode is first used.
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated"),
]

x = torch.randn(2, 6, 4, 3, dtype=torch.float64)


def test_inside_transforms():
    """Left to PyTorch."""
    critic, x = critic_of("layer")
    leaves = leaves_of(critic, x)

    def gradients(x):
        return torch.func.grad(lambda x: critic(x).sum())(x)

    theirs = by_grad(gradients(x).square().sum(), leaves)
    with efficient():
        ours = by_grad(gradients(x).square().sum(), leaves)
        per_sample = torch.func.vmap(torch.func.grad(lambda row: critic(row[None]).sum()))(x)
        tangent = torch.func.jvp(critic, (x.detach(),), (torch.ones_like(x),))[1]
    assert_identical(ours, theirs)
    assert_exact([per_sample], [gradients(x)])
    assert_exact([tangent], [torch.func.jvp(critic, (x.detach(),), (torch.ones_like(x),))[1]])


def one_by_one(outputs, leaves, directions, **kwargs):
    """What is_grads_batched does at once; of a group normalisation PyTorch cannot."""
    rows = [
        torch.autograd.grad(outputs, leaves, d, retain_graph=True, allow_unused=True, **kwargs)
        for d in directions
    ]
    return [None if None in each else torch.stack(each) for each in zip(*rows, strict=True)]


def at_once(outputs, leaves, directions, **kwargs):
    return torch.autograd.grad(
        outputs, leaves, directions, is_grads_batched=True, retain_graph=True, allow_unused=True,
        **kwargs,
    )  # fmt: skip


@each_layer
def test_vectorised_backward_passes(name):
    """is_grads_batched, of the first and of the second derivative: in plain PyTorch."""
    layer, x = layer_of(name), points(2, 6, 4, 3)
    leaves = [x, *layer.parameters()]
    directions = torch.randn(3, *x.shape, dtype=x.dtype)
    found = []
    for context, grad in ((efficient, at_once), (nullcontext, one_by_one)):
        with context():
            output = layer(x)
        first = grad(output, leaves, directions)
        (slope,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
        second = grad(slope, leaves[:2], directions)
        (recorded,) = grad(output, [x], directions, create_graph=True)
        third = by_grad(recorded.square().sum(), leaves[:2])
        found.append([*first, *second, *third])
    assert_exact(*found)


def test_forward_mode_over_reverse():
    """A level that is entered in the backward pass."""
    layer, x = layer_of("layer"), points(2, 6, 4, 3)
    direction = torch.randn_like(x)
    found = []
    for context in (efficient, nullcontext):
        with context():
            output = layer(x)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(torch.ones_like(output), direction)
            (first,) = torch.autograd.grad(output, x, dual)
            found.append([torch.autograd.forward_ad.unpack_dual(first).tangent])
    assert_exact(*found)


def test_forward_mode():
    layer, x = layer_of("layer"), points(2, 6, 4, 3)
    with torch.autograd.forward_ad.dual_level(), efficient():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert not is_replaced(layer(dual))


def test_checkpointed_critic():
    """The critic runs again in the backward pass, outside of the context."""
    critic, x = critic_of("group")
    leaves = leaves_of(critic, x)

    def checkpointed(x):
        return critic[4:](checkpoint(critic[:4], x, use_reentrant=False))

    ours = by_grad(penalty_of(checkpointed, x, context=efficient), leaves)
    assert_exact(ours, by_grad(penalty_of(critic, x), leaves))


def test_compiled_critic():
    critic, x = critic_of("layer")
    torch.compiler.reset()
    compiled = torch.compile(critic, backend="eager")
    with efficient():
        ours = compiled(x)
    assert_exact([ours], [critic(x)], 1e-14)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (ours, critic(x))]
    assert_exact(gradients[:1], gradients[1:])


class Sub(torch.Tensor):
    """A subclass of tensors, which may do anything."""


def test_subclasses_of_tensors():
    leaf = x.clone().as_subclass(Sub).requires_grad_()
    with efficient():
        assert not is_replaced(F.layer_norm(leaf, [3]))
        plain = x.clone().requires_grad_()
        assert not is_replaced(F.layer_norm(plain, [3], torch.ones(3).double().as_subclass(Sub)))


def test_autocast_on_the_cpu():
    """As in PyTorch: in the dtype of the input."""
    layer, leaf = nn.LayerNorm(3), x.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        theirs = layer(leaf)
        with efficient():
            ours = layer(leaf)
    assert ours.dtype == theirs.dtype
    assert_identical([ours], [theirs])


def test_saved_tensors_are_protected_from_changes_in_place():
    hidden = points(2, 6) * 2
    with efficient():
        output = F.layer_norm(hidden, [6])
    hidden.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_retained_graph_and_second_backward():
    critic, x = critic_of("instance")
    leaves = leaves_of(critic, x)
    penalty = penalty_of(critic, x, context=efficient)
    assert_identical(by_grad(penalty, leaves), by_grad(penalty, leaves))
    penalty.backward()
    with pytest.raises(RuntimeError, match="second time"):
        penalty.backward()
