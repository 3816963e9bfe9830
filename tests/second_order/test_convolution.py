"""efficient_convolutions: PyTorch's convolutions, cheaper to differentiate twice."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from benchmarks.flops import FlopCounter, flops_of
from benchmarks.problems.operator_problem import IMPOSSIBLE
from tests.critics import CRITICS
from tests.second_order.convolutions import (
    GEOMETRIES,
    arguments_of,
    both_tools,
    replaced,
    small_critic,
)
from tests.second_order.operators import every_operator
from tests.second_order.twice import (
    assert_exact,
    by_backward,
    by_grad,
    leaves_of,
    penalty_of,
    points,
)
from wgan_fast.second_order import (
    efficient_convolutions,
    twice_differentiable_backends,
)

pytestmark = [
    # PyTorch's own: about a copy that one of these geometries asks for, and about itself when its
    # forward mode is first used.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated"),
]
every_geometry = pytest.mark.parametrize("name", GEOMETRIES)


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
    assert_exact(*results)


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


@every_operator
def test_every_operator(case):
    if case.kind == IMPOSSIBLE:
        return  # without convolutions the same: see test_prune
    critic, x = case.critic(), case.samples().requires_grad_()
    with twice_differentiable_backends():
        theirs = by_grad(penalty_of(critic, x), leaves_of(critic, x))
        ours = by_grad(both_tools(critic, x), leaves_of(critic, x))
    assert_exact(ours, theirs)


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
