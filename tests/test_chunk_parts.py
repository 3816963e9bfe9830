"""What slices are made of: rows, arguments, and the leaves that a result depends on."""

import torch
from torch import nn

from tests.comparing import assert_same_gradients
from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise.chunks import leaves_of, slice_arguments, slices_of


def test_slices_of():
    assert slices_of(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert slices_of(6, 3) == [slice(0, 3), slice(3, 6)]
    assert slices_of(2, 3) == [slice(0, 2)]


def test_slice_arguments_cuts_what_has_a_row_for_each_sample():
    rows, other, number = torch.arange(12).reshape(6, 2), torch.arange(5), torch.tensor(6)
    args, kwargs = slice_arguments(
        ((rows, [other, "text", None]), {"a": {"b": rows}, "number": number}), slice(2, 4), 6
    )
    assert torch.equal(args[0], rows[2:4])
    assert args[1][0] is other
    assert args[1][1:] == ["text", None]
    assert torch.equal(kwargs["a"]["b"], rows[2:4])
    assert kwargs["number"] is number


class ScaledBy(torch.autograd.Function):
    """It keeps a tensor under the name that a leaf's node has for its leaf."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.variable, ctx.weight = x, weight
        return x * weight

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.weight, (grad * ctx.variable).sum()


def test_what_a_custom_function_keeps_is_no_leaf():
    first, scale = nn.Linear(5, 8).double(), torch.tensor(2.0).double().requires_grad_()
    inner = torch.tanh(first(torch.randn(6, 5).double()))
    assert set(leaves_of(ScaledBy.apply(inner, scale).sum())) == {*first.parameters(), scale}
    real, fake = torch.randn(2, 6, 5, dtype=torch.float64)
    epsilon = torch.rand(6, dtype=torch.float64)
    grads = []
    for chunk_size in (None, 2):
        penalty = fast_gradient_penalty(
            lambda x: torch.tanh(ScaledBy.apply(torch.tanh(first(x)), scale)).sum(1), real, fake,
            epsilon=epsilon, chunk_size=chunk_size,
        )  # fmt: skip
        grads.append(torch.autograd.grad(penalty, list(first.parameters())))
    assert_same_gradients(*grads)


def test_leaves_of():
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    shared = a * b
    assert set(leaves_of((shared * shared).sum())) == {a, b}
    assert leaves_of(torch.ones(2)) == []
    assert leaves_of((c.detach() * a).sum()) == [a]
