"""efficient_convolutions among everything else that people do with a critic."""

import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.second_order.convolutions import arguments_of, both_tools, replaced, small_critic
from tests.second_order.twice import (
    assert_exact,
    assert_identical,
    by_backward,
    by_grad,
    leaves_of,
    penalty_of,
    points,
    unchanged,
)
from wgan_fast.second_order import (
    efficient_convolutions,
    prune_zero_paths,
    twice_differentiable_backends,
    without_thresholds,
)
from wgan_fast.second_order._layer import Replacing
from wgan_fast.second_order.layers import CONVOLUTION

pytestmark = [
    # PyTorch's own: about a copy that one of these geometries asks for, and about itself when its
    # forward mode is first used.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated"),
]


def is_replaced(output):
    return type(output.grad_fn).__name__ == "_ConvolveBackward"


def test_what_is_left_to_pytorch():
    input, weight = points(2, 3, 6, 6), points(4, 3, 3, 3)
    with efficient_convolutions():
        assert is_replaced(F.conv2d(input, weight))
        assert is_replaced(torch.conv2d(input, weight))
        assert not is_replaced(F.conv2d(input[0], weight))  # no batch dimension
        assert not is_replaced(F.conv2d(input.detach(), weight))
        assert not is_replaced(F.conv2d(input.to(torch.complex128), weight.to(torch.complex128)))
        with torch.no_grad():
            assert F.conv2d(input, weight).grad_fn is None
    assert not is_replaced(F.conv2d(input, weight))


def test_input_without_batch_dimension():
    function, (input, weight, bias), arguments = arguments_of("2d strided")
    ours = replaced(function, arguments)(input[0], weight, bias)
    assert_identical([ours], [function(input[0], weight, bias, **arguments)])


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 0},
        {"padding": -1},
        {"stride": "2"},
        {"stride": (1, 1, 1)},
        {"padding": "some"},
        {"padding": "same", "stride": 2},
        {"groups": 2},
        {"unknown": 2},
    ],
    ids=str,
)
def test_errors_are_those_of_pytorch(arguments):
    input, weight = points(2, 3, 6, 6), points(4, 3, 3, 3)
    with pytest.raises((RuntimeError, TypeError, ValueError)) as theirs:
        F.conv2d(input, weight, **arguments)
    with pytest.raises(theirs.type) as ours, efficient_convolutions():
        F.conv2d(input, weight, **arguments)
    assert str(ours.value).split("(")[0] == str(theirs.value).split("(")[0]


def test_empty_batch():
    critic, x = small_critic(), points(0, 3, 8, 8)
    with efficient_convolutions():
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    gradients.sum().backward()
    assert critic[0].weight.grad.count_nonzero() == 0


def test_retained_graph_and_second_backward():
    critic, x = small_critic(), points(2, 3, 8, 8)
    leaves = leaves_of(critic, x)
    penalty = both_tools(critic, x)
    assert_identical(by_grad(penalty, leaves), by_grad(penalty, leaves))
    penalty.backward()
    with pytest.raises(RuntimeError, match="second time"):
        penalty.backward()


def test_penalty_of_a_penalty():
    critic, x = small_critic(nn.Tanh), points(2, 3, 8, 8)
    weights = [critic[0].weight, critic[2].weight]
    results = []
    for prune, context in (
        (prune_zero_paths, efficient_convolutions),
        (unchanged, twice_differentiable_backends),
    ):
        penalty = penalty_of(critic, x, prune, context)
        found = torch.autograd.grad(penalty, weights, create_graph=True)
        results.append(by_grad(sum(g.square().sum() for g in found), leaves_of(critic, x)))
    assert_exact(*results)


def test_output_of_leaky_relu_is_not_kept():
    """LeakyReLU's input is, and that is enough; PyTorch keeps both."""
    input, weight = points(2, 3, 6, 6), points(4, 3, 3, 3)
    kept = []
    for context in (efficient_convolutions, nullcontext):
        hidden = F.leaky_relu(input * 2, 0.2)
        watched = weakref.ref(hidden)
        with context():
            output = F.conv2d(hidden, weight)
        del hidden
        kept.append(watched() is not None)
        del output
    assert kept == [False, True]


@pytest.mark.parametrize("again", [True, False])
def test_output_of_leaky_relu_is_computed_again(again):
    """Where a weight gradient needs it: here with a smooth layer behind, and in plain training."""
    critic = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4),
        nn.LeakyReLU(0.1), nn.Conv2d(4, 1, 3), nn.Flatten(),
    ).double()  # fmt: skip
    x = points(2, 3, 8, 8)
    leaves = leaves_of(critic, x)
    penalty = both_tools(critic, x)
    if again:
        by_grad(penalty, leaves)
    assert_exact(by_grad(penalty, leaves), by_grad(penalty_of(critic, x), leaves))
    with efficient_convolutions():
        loss = critic(x).square().sum()
    assert_exact(by_backward(loss, leaves), by_backward(critic(x).square().sum(), leaves))


def test_saved_tensors_are_protected_from_changes_in_place():
    input, weight = points(2, 3, 6, 6), points(4, 3, 3, 3)
    hidden = input * 2
    with efficient_convolutions():
        output = F.conv2d(hidden, weight)
    hidden.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_checkpointed_critic():
    """The critic runs again in the backward pass, outside of the context."""
    critic, x = small_critic(nn.Tanh), points(2, 3, 8, 8)
    leaves = leaves_of(critic, x)

    def checkpointed(x):
        return critic[2:](checkpoint(critic[:2], x, use_reentrant=False))

    ours = by_grad(both_tools(checkpointed, x), leaves)
    assert_exact(ours, by_grad(penalty_of(critic, x), leaves))


def test_inside_transforms():
    """Left to PyTorch."""
    critic, x = small_critic(), points(2, 3, 8, 8)
    leaves = leaves_of(critic, x)

    def gradients(x):
        return torch.func.grad(lambda x: critic(x).sum())(x)

    theirs = by_grad(gradients(x).square().sum(), leaves)
    with efficient_convolutions():
        ours = by_grad(gradients(x).square().sum(), leaves)
        per_sample = torch.func.vmap(torch.func.grad(lambda row: critic(row[None]).sum()))(x)
    assert_identical(ours, theirs)
    assert_exact([per_sample], [gradients(x)])
    with efficient_convolutions():
        primal, tangent = torch.func.jvp(critic, (x.detach(),), (torch.ones_like(x),))
    assert_exact([primal], [critic(x)])
    assert tangent.shape == (2, 1)


def test_forward_mode():
    critic, x = small_critic(), points(2, 3, 8, 8)
    with torch.autograd.forward_ad.dual_level(), efficient_convolutions():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(critic(dual)).tangent
    assert tangent.shape == (2, 1)


def test_context_ends():
    input, weight = points(2, 3, 6, 6), points(4, 3, 3, 3)
    with pytest.raises(KeyError), efficient_convolutions():
        raise KeyError
    assert not is_replaced(F.conv2d(input, weight))
    with efficient_convolutions(), efficient_convolutions():
        assert is_replaced(F.conv2d(input, weight))


def works(function, *args, **kwargs):
    """What the table takes for the work of one call."""
    return CONVOLUTION.work(*CONVOLUTION.functions[function](function, *args, **kwargs))


def test_work():
    """Positions times weights; twice the stride is a quarter of it."""
    input, weight = points(2, 5, 8, 8), points(4, 5, 3, 3)
    work = 2 * 8 * 8 * weight.numel()
    assert works(F.conv2d, input, weight) == work
    assert works(F.conv2d, input, weight, stride=2) == work // 4
    assert works(F.conv_transpose2d, input, weight.transpose(0, 1), stride=2) == work


def test_few_channels_count_32_times():
    input, weight = points(2, 3, 8, 8), points(4, 3, 3, 3)
    assert works(F.conv2d, input, weight) == 32 * 2 * 8 * 8 * weight.numel()


def test_least_work():
    """Calls below it stay PyTorch's."""
    input, weight = points(2, 5, 8, 8), points(4, 5, 3, 3)
    for least, expected in ((works(F.conv2d, input, weight), True), (2**40, False)):
        with Replacing([replace(CONVOLUTION, least_work=least)]):
            assert is_replaced(F.conv2d(input, weight)) is expected
        with without_thresholds(), Replacing([replace(CONVOLUTION, least_work=least)]):
            assert is_replaced(F.conv2d(input, weight))


def head(context, activation):
    """The gradient of a head's weight after the graph of its trunk was freed."""
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3), activation).double()
    last = nn.Conv2d(6, 4, 3).double()
    x = points(2, 3, 9, 9)
    with context:
        features = trunk(x)
        scores = last(features)
    features.square().mean().backward()
    return torch.autograd.grad(scores.sum(), last.weight)[0]


@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.LeakyReLU(0.2), nn.Tanh])
def test_a_head_survives_its_trunk(activation):
    """As in a critic of several heads, whose losses are differentiated one after the other."""
    ours = head(efficient_convolutions(), activation())
    assert_exact([ours], [head(nullcontext(), activation())])


def test_a_change_in_place_of_what_is_computed_again_is_an_error():
    """LeakyReLU's input takes the place of the convolution's."""
    first, second = nn.Conv2d(3, 6, 3).double(), nn.Conv2d(6, 4, 3).double()
    hidden = first(points(2, 3, 9, 9))
    with efficient_convolutions():
        scores = second(F.leaky_relu(hidden, 0.2))
    with torch.no_grad():
        hidden.add_(1)
    with pytest.raises(RuntimeError, match=r"leaky_relu .* changed in place"):
        torch.autograd.grad(scores.sum(), second.weight)
