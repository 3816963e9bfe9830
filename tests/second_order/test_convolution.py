"""efficient_convolutions: PyTorch's convolutions, cheaper to differentiate twice."""

import functools
import weakref
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from benchmarks.double_backward_case import IMPOSSIBLE
from benchmarks.double_backward_cases import CASES
from benchmarks.flops import FlopCounter, flops_of
from tests.critics import CRITICS
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
from wgan_fast.second_order import convolution as room
from wgan_fast.second_order import (
    efficient_convolutions,
    prune_zero_paths,
    twice_differentiable_backends,
)

#: function, shape of the input, shape of the weights, arguments
GEOMETRIES = {
    "1d": (F.conv1d, (2, 3, 9), (4, 3, 3), {}),
    "1d strided": (F.conv1d, (2, 3, 10), (4, 3, 5), {"stride": 2, "padding": 2}),
    "2d": (F.conv2d, (2, 3, 5, 6), (4, 3, 3, 2), {}),
    "2d strided": (F.conv2d, (2, 3, 7, 6), (4, 3, 4, 3), {"stride": (2, 3), "padding": (1, 2)}),
    "2d stride that leaves a rest": (F.conv2d, (2, 2, 8, 8), (3, 2, 3, 3), {"stride": 2}),
    "2d list of one": (F.conv2d, (2, 2, 6, 6), (3, 2, 3, 3), {"stride": [2], "padding": [1]}),
    "2d dilated": (F.conv2d, (2, 2, 9, 9), (2, 2, 3, 3), {"dilation": (2, 3), "padding": 1}),
    "2d groups": (F.conv2d, (2, 4, 6, 6), (6, 2, 3, 3), {"groups": 2, "stride": 2}),
    "2d depthwise": (F.conv2d, (2, 3, 6, 6), (3, 1, 3, 3), {"groups": 3}),
    "2d valid": (F.conv2d, (2, 2, 5, 5), (2, 2, 3, 3), {"padding": "valid", "stride": 2}),
    "2d same": (F.conv2d, (2, 2, 5, 6), (2, 2, 3, 3), {"padding": "same"}),
    "2d same, even kernel": (
        F.conv2d,
        (2, 2, 5, 6),
        (2, 2, 4, 2),
        {"padding": "same", "dilation": (1, 2)},
    ),
    "3d": (F.conv3d, (1, 2, 5, 4, 5), (2, 2, 3, 2, 3), {"stride": (2, 1, 2), "padding": 1}),
    "transposed 1d": (F.conv_transpose1d, (2, 3, 5), (3, 2, 4), {"stride": 2, "padding": 1}),
    "transposed 2d": (
        F.conv_transpose2d,
        (2, 4, 3, 4),
        (4, 1, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 2, "dilation": (1, 2)},
    ),
    "transposed 3d": (F.conv_transpose3d, (1, 2, 3, 2, 3), (2, 2, 2, 2, 3), {"stride": 2}),
}

pytestmark = [
    # PyTorch's own: about a copy that one of these geometries asks for, and about itself when its
    # forward mode is first used.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated"),
]
every_geometry = pytest.mark.parametrize("name", GEOMETRIES)


def arguments_of(name, bias=True):
    function, size, weight_size, arguments = GEOMETRIES[name]
    input, weight = points(*size), points(*weight_size)
    features = weight_size[0]
    if "transpose" in function.__name__:
        features = weight_size[1] * arguments.get("groups", 1)
    tensors = (input, weight, points(features)) if bias else (input, weight)
    return function, tensors, arguments


def replaced(function, arguments):
    def call(*tensors):
        with efficient_convolutions():
            return function(*tensors, **arguments)

    return call


@every_geometry
@pytest.mark.parametrize("bias", [True, False])
def test_same_as_pytorch_to_the_second_order(name, bias):
    function, tensors, arguments = arguments_of(name, bias)
    results = []
    for call in (replaced(function, arguments), functools.partial(function, **arguments)):
        output = call(*tensors)
        first = torch.autograd.grad(output.square().sum(), tensors, create_graph=True)
        second = by_grad(sum(g.square().sum() for g in first), list(tensors))
        results.append([output, *first, *second])
    assert_exact(*results)
    assert type(replaced(function, arguments)(*tensors).grad_fn).__name__ == "_ConvolveBackward"


@every_geometry
def test_gradcheck(name):
    function, tensors, arguments = arguments_of(name)
    call = replaced(function, arguments)
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)


@pytest.mark.parametrize("name", ["1d strided", "transposed 2d"])
def test_third_order(name):
    function, tensors, arguments = arguments_of(name)
    call = replaced(function, arguments)

    def gradients(*tensors):
        output = call(*tensors).sin().sum()
        return torch.autograd.grad(output, tensors[:2], create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, tensors)


def test_fourth_order_is_that_of_pytorch():
    function, tensors, arguments = arguments_of("2d strided")
    results = []
    for call in (replaced(function, arguments), functools.partial(function, **arguments)):
        value = call(*tensors).sin().sum()
        for _ in range(3):
            found = torch.autograd.grad(value, tensors, create_graph=True)
            value = sum(g.square().sum() for g in found)
        results.append(by_grad(value, list(tensors)))
    assert_exact(*results, rtol=1e-11)


def both_tools(critic, x):
    return penalty_of(critic, x, prune_zero_paths, efficient_convolutions)


@pytest.mark.parametrize("case", CRITICS, ids=lambda case: case.name)
def test_every_critic(case):
    module, critic = case.make()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    arguments = case.arguments()

    def same_state(x):
        module.load_state_dict(state)
        with twice_differentiable_backends():
            return critic(
                x, *arguments.get("critic_args", ()), **arguments.get("critic_kwargs", {})
            )

    x = case.samples()[0].requires_grad_()
    for differentiate in (by_grad, by_backward):
        theirs = differentiate(penalty_of(same_state, x), leaves_of(module, x))
        ours = differentiate(both_tools(same_state, x), leaves_of(module, x))
        assert_exact(ours, theirs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_operator(case):
    if case.kind == IMPOSSIBLE:
        return  # without convolutions the same: see test_prune
    critic, x = case.critic(), case.samples().requires_grad_()
    with twice_differentiable_backends():
        theirs = by_grad(penalty_of(critic, x), leaves_of(critic, x))
        ours = by_grad(both_tools(critic, x), leaves_of(critic, x))
    assert_exact(ours, theirs)


def small_critic(activation=nn.ReLU, **arguments):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, **arguments), activation(),
        nn.Conv2d(4, 8, 3, 2, 1, **arguments), activation(), nn.Flatten(), nn.Linear(32, 1),
    ).double()  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "least"), [(nn.ReLU, 4), (nn.LeakyReLU, 4), (nn.PReLU, 4), (nn.SiLU, 6)]
)
def test_operations(activation, least):
    """Also for kernels whose size the stride does not divide, where PyTorch computes too much."""
    critic, x = small_critic(activation), points(2, 3, 8, 8)
    forward = flops_of(lambda: critic(x))
    assert flops_of(lambda: penalty_of(critic, x).backward()) > 6.6 * forward
    assert flops_of(lambda: both_tools(critic, x).backward()) <= least * forward


def test_weight_gradients_only_where_asked_for():
    """The pass for the input alone computes no weight gradient, from outside the context, too."""
    critic, x = small_critic(), points(2, 3, 8, 8)
    with efficient_convolutions():
        scores = critic(x)
    with FlopCounter() as counter:
        torch.autograd.grad(scores.sum(), x, create_graph=True)
    assert counter.flops <= flops_of(lambda: critic(x))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("create_graph", [True, False])
def test_any_choice_of_gradients(wanted, leaf, create_graph):
    function, tensors, arguments = arguments_of("2d strided")
    results = []
    for call in (replaced(function, arguments), functools.partial(function, **arguments)):
        inputs = tensors if leaf else [tensor * 2 for tensor in tensors]
        chosen = [inputs[index] for index in wanted]
        output = call(*inputs).square().sum()
        results.append(list(torch.autograd.grad(output, chosen, create_graph=create_graph)))
    assert_exact(*results)


def test_backward_to_chosen_inputs():
    function, tensors, arguments = arguments_of("2d")
    output = replaced(function, arguments)(*tensors)
    output.sum().backward(inputs=[tensors[1]])
    assert tensors[0].grad is None
    assert tensors[1].grad is not None


def test_frozen_weights():
    critic, x = small_critic().requires_grad_(False), points(2, 3, 8, 8)
    critic[0].weight.requires_grad_()
    leaves = [x, critic[0].weight]
    assert_exact(by_grad(both_tools(critic, x), leaves), by_grad(penalty_of(critic, x), leaves))


@pytest.mark.parametrize("norm", [spectral_norm, weight_norm])
def test_weights_that_are_not_leaves(norm):
    critic, x = small_critic(), points(2, 3, 8, 8)
    norm(critic[0]), norm(critic[2])
    critic.eval()
    leaves = leaves_of(critic, x)
    assert_exact(by_grad(both_tools(critic, x), leaves), by_grad(penalty_of(critic, x), leaves))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_padding_modes_of_modules(mode):
    critic, x = small_critic(padding_mode=mode), points(2, 3, 8, 8)
    leaves = leaves_of(critic, x)
    assert_exact(by_grad(both_tools(critic, x), leaves), by_grad(penalty_of(critic, x), leaves))


def test_channels_last():
    critic = small_critic().to(memory_format=torch.channels_last)
    x = points(2, 3, 8, 8).detach().to(memory_format=torch.channels_last).requires_grad_()
    leaves = leaves_of(critic, x)
    ours = by_backward(both_tools(critic, x), leaves)
    theirs = by_backward(penalty_of(critic, x), leaves)
    assert_exact(ours, theirs)
    assert ours[1].is_contiguous(memory_format=torch.channels_last)
    with efficient_convolutions():
        assert critic[0](x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype):
    critic, x = small_critic(nn.Tanh).to(dtype), points(2, 3, 8, 8).detach().to(dtype)
    x.requires_grad_()
    leaves = leaves_of(critic, x)
    ours = by_grad(both_tools(critic, x), leaves)
    theirs = by_grad(penalty_of(critic, x), leaves)
    assert [None if g is None else g.dtype for g in ours] == [
        None if g is None else g.dtype for g in theirs
    ]
    assert_exact(ours, theirs, rtol=64 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_autocast(function, dtype, precision):
    input, weight, bias = (
        tensor.detach().to(precision).requires_grad_()
        for tensor in (points(2, 4, 8, 8), points(4, 4, 3, 3), points(4))
    )
    results = []
    for call in (replaced(function, {"stride": 2}), functools.partial(function, stride=2)):
        with torch.autocast("cpu", dtype):
            output = call(input, weight, bias)
        first = torch.autograd.grad(
            output.float().tanh().sum(), (input, weight, bias), create_graph=True
        )
        results.append([output, *first, *by_grad(first[0].square().sum(), [input, weight])])
    assert [g.dtype for g in results[0]] == [g.dtype for g in results[1]]
    low = precision == torch.float32
    assert results[0][0].dtype == (dtype if low else precision)
    assert_exact(*results, rtol=64 * torch.finfo(dtype).eps if low else 1e-12)


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
    assert_exact(*results, rtol=1e-11)


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


def test_least_work():
    """Calls below it stay PyTorch's; twice the stride is a quarter of the work."""
    input, weight = points(2, 3, 8, 8), points(4, 3, 3, 3)
    work = 2 * 8 * 8 * weight.numel()
    for limit, stride, expected in ((work, 1, True), (work + 1, 1, False), (work, 2, False)):
        replacement = room.convolutions(limit)[F.conv2d]
        assert is_replaced(replacement(F.conv2d, input, weight, stride=stride)) is expected
    transposed = room.convolutions(2 * 8 * 8 * weight.numel())[F.conv_transpose2d]
    output = transposed(F.conv_transpose2d, input, weight.transpose(0, 1), stride=2)
    assert is_replaced(output)
