"""Normalisations that are replaced, against PyTorch's own."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from benchmarks.calls import calls_and_bytes_of
from benchmarks.problems.critics import dcgan
from tests.second_order.normalisations import (
    LAYERS,
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
    by_backward,
    by_grad,
    leaves_of,
    penalty_of,
    points,
)
from wgan_fast import fast_gradient_penalty
from wgan_fast.second_order import prune_zero_paths, without_thresholds
from wgan_fast.second_order._layer import Replacing
from wgan_fast.second_order.layers import NORMALISATION

pytestmark = needs_kernels


@each_layer
def test_penalty(name):
    critic, x = critic_of(name)
    leaves = leaves_of(critic, x)
    for prune in (prune_zero_paths, lambda gradients: gradients):
        ours = penalty_of(critic, x, prune, efficient)
        theirs = penalty_of(critic, x)
        assert_exact(by_grad(ours, leaves), by_grad(theirs, leaves))
        assert_exact(by_backward(ours, leaves), by_backward(theirs, leaves))


@each_layer
def test_it_is_replaced_and_the_values_are_pytorchs(name):
    layer, x = layer_of(name), points(3, 6, 4, 3)
    with efficient():
        output = layer(x)
    assert is_replaced(output)
    if name.startswith("instance"):  # PyTorch's is a batch normalisation
        assert_exact([output], [layer(x)], 1e-14)
    else:
        assert_identical([output], [layer(x)])


@each_layer
def test_derivatives(name):
    """To the third order: beyond the second by plain PyTorch."""
    layer, x = layer_of(name), points(2, 6, 4, 3)

    def call(x, *parameters):
        names = [name for name, _ in layer.named_parameters()]
        with efficient():
            return torch.func.functional_call(
                layer, dict(zip(names, parameters, strict=True)), (x,)
            )

    def slope(x, *parameters):
        output = call(x, *parameters)
        weights = torch.linspace(-1, 1, output.numel(), dtype=x.dtype).view_as(output)
        return torch.autograd.grad(output, (x, *parameters), weights, create_graph=True)

    inputs = (x, *layer.parameters())
    assert gradcheck(call, inputs, fast_mode=True)
    assert gradgradcheck(call, inputs, fast_mode=True)
    assert gradgradcheck(slope, inputs, fast_mode=True)


@each_layer
def test_only_what_is_asked_for(name):
    """One leaf at a time: the input, the weight, the bias; the others get nothing."""
    critic, x = critic_of(name)
    leaves = [x, *critic[1].parameters()]
    ours, theirs = penalty_of(critic, x, context=efficient), penalty_of(critic, x)
    for wanted in leaves:
        for leaf in leaves:
            leaf.grad = None
        ours.backward(inputs=[wanted], retain_graph=True)
        assert [leaf.grad is not None for leaf in leaves] == [leaf is wanted for leaf in leaves]
        (expected,) = by_grad(theirs, [wanted])
        assert_exact([wanted.grad], [expected])


FLOATS = [torch.float32, torch.float16, torch.bfloat16]


@each_layer
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_other_dtypes(name, dtype):
    """Gradients of a penalty as near to those in float64 as PyTorch's, or nearer by rounding.

    Each is off by some roundings of the dtype in each of its steps, of which a derivative has a
    dozen; PyTorch's own deviation says how much that comes to, but by chance it may be small.
    """
    exact_layer, x = layer_of(name), points(2, 6, 4, 3)
    exact_layer = exact_layer.to(dtype).double()  # the values that the layer has in this dtype
    x = x.detach().to(dtype).double().requires_grad_()

    def gradients(layer, x, context):
        with context():
            output = layer(x)
        weights = torch.linspace(-1, 1, output.numel()).view_as(output).to(x.dtype)
        (first,) = torch.autograd.grad(output, x, weights, create_graph=True)
        loss = (first * weights).sum()
        return torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True)

    exact = gradients(exact_layer, x, nullcontext)
    layer = LAYERS[name]().to(dtype)
    layer.load_state_dict({k: v.to(dtype) for k, v in exact_layer.state_dict().items()})
    low = x.detach().to(dtype).requires_grad_()
    ours, theirs = (gradients(layer, low, context) for context in (efficient, nullcontext))
    for mine, other, wanted in zip(ours, theirs, exact, strict=True):
        if mine is None or other is None:  # of a bias; which of the two, is each release's own
            assert all(gradient is None or not gradient.any() for gradient in (mine, other))
            continue
        assert mine.dtype == other.dtype == dtype
        scale = wanted.abs().max().item()
        off = (mine.double() - wanted).abs().max().item()
        pytorchs = (other.double() - wanted).abs().max().item()
        assert off <= max(2 * pytorchs, 12 * torch.finfo(dtype).eps * scale)


def test_parameters_in_float32_beside_samples_in_less():
    layer = nn.LayerNorm(6)
    x = torch.randn(4, 6, dtype=torch.bfloat16).requires_grad_()
    with efficient():
        output = layer(x)
    assert is_replaced(output)
    (first,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    first.square().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    assert x.grad.dtype == torch.bfloat16


x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
weight = torch.randn(6, dtype=torch.float64)


@pytest.mark.parametrize("module", [F, torch])
def test_spellings(module):
    """Functions of both modules, with positional and keyword arguments."""
    leaf = x.clone().requires_grad_()
    last = torch.randn(3, dtype=torch.float64)
    calls = [
        lambda: module.layer_norm(leaf, [3], last, last, 1e-3),
        lambda: module.layer_norm(leaf, normalized_shape=(4, 3), eps=1e-3),
        lambda: module.layer_norm(input=leaf, normalized_shape=[3], weight=last),
        lambda: module.group_norm(leaf, 2, weight, weight, 1e-3),
        lambda: module.group_norm(leaf, num_groups=3, bias=weight, weight=weight),
        lambda: module.rms_norm(leaf, [3], last, 1e-3),
        lambda: module.rms_norm(leaf, normalized_shape=(4, 3)),
    ]
    if module is F:
        calls += [
            lambda: F.instance_norm(leaf, weight=weight, bias=weight),
            lambda: F.instance_norm(leaf, None, None, weight, weight, True, 0.1, 1e-3),
        ]
    else:
        calls += [
            # In another order than F.instance_norm.
            lambda: torch.instance_norm(leaf, weight, 2 * weight, None, None, True, 0.1, 1e-3, True)
        ]
    for call in calls:
        with efficient():
            ours = call()
        theirs = call()
        assert is_replaced(ours)
        assert_exact([ours], [theirs], 1e-14)
        gradients = [torch.autograd.grad(y.sin().sum(), leaf)[0] for y in (ours, theirs)]
        assert_exact(gradients[:1], gradients[1:])


def test_what_is_left_to_pytorch():
    leaf = x.clone().requires_grad_()
    channels_last = x.to(memory_format=torch.channels_last).requires_grad_()
    running = torch.zeros(6).double(), torch.ones(6).double()
    calls = [
        lambda: F.layer_norm(x, [3], weight[:3].requires_grad_()),  # no gradient of the input
        lambda: F.group_norm(channels_last, 2),  # it stays channels_last
        lambda: F.instance_norm(channels_last),
        lambda: F.group_norm(leaf.transpose(1, 2), 2),
        lambda: F.instance_norm(leaf, *running, use_input_stats=False),
        lambda: F.instance_norm(leaf, *running),  # running statistics are to be updated
        lambda: torch.instance_norm(leaf, None, None, *running, True, 0.1, 1e-5, True),
        lambda: F.layer_norm(leaf, [3], None, weight[:3]),  # a bias without a weight
    ]
    with efficient():
        outputs = [call() for call in calls]
        with torch.no_grad():
            assert F.layer_norm(leaf, [3]).grad_fn is None
    assert not any(map(is_replaced, outputs))
    with efficient():
        assert is_replaced(F.layer_norm(channels_last, [6, 4, 3]))  # PyTorch makes it contiguous
    assert not is_replaced(F.layer_norm(leaf, [3]))  # the context has ended


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.layer_norm(x, [4]),
        lambda x: F.layer_norm(x, []),
        lambda x: F.layer_norm(x, [3], torch.ones(4).double()),
        lambda x: F.layer_norm(x, [3], torch.ones(3).double(), torch.ones(4).double()),
        lambda x: F.layer_norm(x, [3], torch.ones(3)),
        lambda x: F.layer_norm(x, 3),
        lambda x: F.rms_norm(x, [4]),
        lambda x: F.group_norm(x, 4),
        lambda x: F.group_norm(x, 0),
        lambda x: F.group_norm(x, 2, torch.ones(4).double()),
        lambda x: F.instance_norm(x[:, :, :1, :1]),
        lambda x: F.instance_norm(x[0, 0, 0]),
        lambda x: F.group_norm(x, 2, unknown=3),
    ],
)
def test_errors_are_those_of_pytorch(call):
    leaf = x.clone().requires_grad_()
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError, ZeroDivisionError)) as one:
        call(leaf)
    with pytest.raises(one.type) as other, efficient():
        call(leaf)
    assert str(other.value).split("(")[0] == str(one.value).split("(")[0]


def test_nothing_to_normalise():
    critic = nn.Sequential(nn.LayerNorm(3), nn.Flatten(), nn.Linear(6, 1)).double()
    x = points(0, 2, 3)
    with efficient():
        assert critic(x).shape == (0, 1)


def works(function, *args, **kwargs):
    """What the table takes for the work of one call."""
    return NORMALISATION.work(*NORMALISATION.functions[function](function, *args, **kwargs))


def test_least_work():
    """Calls below it stay PyTorch's."""
    leaf = x.clone().requires_grad_()
    work = works(F.layer_norm, leaf, [3])
    assert work == leaf.numel()
    assert works(F.group_norm, leaf, 2) == works(F.instance_norm, leaf) == 4 * work
    for least, expected in ((work, True), (work + 1, False)):
        with Replacing([replace(NORMALISATION, least_work=least)]):
            assert is_replaced(F.layer_norm(leaf, [3])) is expected
        with without_thresholds(), Replacing([replace(NORMALISATION, least_work=least)]):
            assert is_replaced(F.layer_norm(leaf, [3]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_any_number_of_threads(threads, dtype):
    """Gradients of weights are added up in an order that is the same for all."""
    for name in ("layer", "instance"):
        layer = LAYERS[name]() if name == "instance" else nn.LayerNorm([6, 50, 40])
        layer = layer.to(dtype)
        torch.manual_seed(0)
        x = torch.randn(33, 6, 50, 40, dtype=dtype).requires_grad_()
        results = []
        for count in (1, 2, 3):
            threads(count)
            results.append(by_grad(penalty_of(layer, x, context=efficient), leaves_of(layer, x)))
        for result in results[1:]:
            assert_identical(result, results[0])


#: DCGAN's normalisation, by its name in the papers.
NORMS = {
    "LayerNorm": lambda features, size: nn.LayerNorm([features, size, size]),
    "InstanceNorm": lambda features, size: nn.InstanceNorm2d(features, affine=True),
    "GroupNorm": lambda features, size: nn.GroupNorm(32, features),
}


@pytest.mark.parametrize("name", NORMS)
def test_calls_and_bytes_of_a_penalty(name):
    """DCGAN, 64x64, batch 64, float32, with its backward pass. PyTorch: 277 to 466 calls and 2.2 to
    2.8 GB."""
    critic = dcgan(norm=NORMS[name])
    real, fake = torch.randn(2, 64, 3, 64, 64)
    calls, moved = calls_and_bytes_of(lambda: fast_gradient_penalty(critic, real, fake).backward())
    assert calls <= 135
    assert moved <= 1.6e9
