"""Smooth activations: PyTorch's, with a second order of one kernel."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

from benchmarks.calls import CallCounter
from tests.second_order.activations import LEFT, REPLACED, is_replaced, replaced
from tests.second_order.twice import (
    assert_exact,
    assert_identical,
    by_backward,
    by_grad,
    leaves_of,
    mlp,
    penalty_of,
    points,
)
from wgan_fast.ops import _native as native
from wgan_fast.second_order import prune_zero_paths, without_thresholds
from wgan_fast.second_order._layer import Replacing
from wgan_fast.second_order.layers import ACTIVATION
from wgan_fast.second_order.layers.activations import SPARED

pytestmark = [
    pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}"),
    # PyTorch's own: about itself when its forward mode is first used.
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated"),
]
each = pytest.mark.parametrize("name", REPLACED)


def every_activation():
    return Replacing([ACTIVATION], always=True)


def derivatives(function, weight, x, orders):
    """The output, and the gradients of weight and x, of a function of these, and so on."""
    value = function(x @ weight)
    found = [value]
    value = (value * torch.linspace(0.5, 2, value.shape[-1], dtype=value.dtype)).sin().sum()
    for _ in range(orders):
        gradients = torch.autograd.grad(value, [weight, x], create_graph=True)
        found += gradients
        value = sum(g.square().sum() for g in gradients)
    return found


@each
def test_same_as_pytorch_to_the_fourth_order(name):
    function = REPLACED[name]
    weight, x = points(5, 6), points(4, 5)
    ours = derivatives(lambda x: replaced(function, x), weight, x, 4)
    assert_exact(ours, derivatives(function, weight, x, 4))
    assert is_replaced(replaced(function, x))
    assert torch.equal(ours[0], function(x @ weight))


@each
def test_gradcheck(name):
    x = points(3, 4)

    def call(x):
        return replaced(REPLACED[name], x)

    assert gradcheck(call, [x])
    assert gradgradcheck(call, [x])


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_pytorch(name):
    weight, x = points(5, 6), points(4, 5)
    ours = derivatives(lambda x: replaced(LEFT[name], x * 1), weight, x, 2)
    assert_identical(ours, derivatives(lambda x: LEFT[name](x * 1), weight, x, 2))
    assert not is_replaced(replaced(LEFT[name], points(4, 5) * 1))


def test_tensors_that_are_left_to_pytorch():
    x = points(4, 5)
    for other in (x.detach(), x.to(torch.complex128)):
        assert not is_replaced(replaced(torch.tanh, other))
    with torch.no_grad():
        assert replaced(F.silu, x).grad_fn is None
    out = torch.empty_like(x)
    assert replaced(lambda x: torch.tanh(x, out=out), x.detach()) is out
    with pytest.raises(TypeError):
        replaced(lambda x: F.silu(x, beta=2), x)
    with pytest.raises(RuntimeError, match="approximate"):
        replaced(lambda x: F.gelu(x, approximate="erf"), x)
    assert not is_replaced(replaced(lambda x: F.elu(x, alpha=torch.tensor(2.0)), x))

    class Subclass(torch.Tensor):
        pass

    odd = x.detach().as_subclass(Subclass).requires_grad_()
    assert not is_replaced(replaced(F.silu, odd))
    assert not is_replaced(F.silu(x))


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("create_graph", [True, False])
def test_any_choice_of_gradients(wanted, create_graph):
    """Of the gradient that came, and of the input."""
    x, grad, tangent = points(3, 4), points(3, 4), torch.randn(3, 4, dtype=torch.float64)
    results = []
    for call in (lambda x: replaced(F.silu, x), F.silu):
        (first,) = torch.autograd.grad(call(x), x, grad, create_graph=True)
        chosen = [(grad, x)[index] for index in wanted]
        results.append(list(torch.autograd.grad(first, chosen, tangent, create_graph=create_graph)))
    assert_exact(*results)


def test_the_kernel_is_called_once_for_each_second_derivative():
    """And not at all where only the gradient of the gradient is asked for."""
    x, grad, tangent = points(3, 4), points(3, 4), torch.ones(3, 4, dtype=torch.float64)
    (first,) = torch.autograd.grad(replaced(F.silu, x), x, grad, create_graph=True)
    with CallCounter() as both:
        torch.autograd.grad(first, [grad, x], tangent, retain_graph=True)
    assert dict(both.calls_of) == {"activation_gradients": 1}
    with CallCounter() as one:
        torch.autograd.grad(first, grad, tangent)
    assert dict(one.calls_of) == {"silu_backward": 1}


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh, nn.ELU, nn.Softsign, nn.LogSigmoid])
@pytest.mark.parametrize("differentiate", [by_grad, by_backward])
def test_a_penalty(activation, differentiate):
    critic, x = mlp(5, 8, 7, 1, activation=activation), points(4, 5)
    leaves = leaves_of(critic, x)
    theirs = differentiate(penalty_of(critic, x), leaves)
    penalty = penalty_of(critic, x, prune_zero_paths, every_activation)
    assert_exact(differentiate(penalty, leaves), theirs)


def test_beside_what_is_cut():
    """Paths of zeros end where they always did, and what only they lead to gets its zeros."""
    critic = nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8), nn.LeakyReLU(0.2),
        nn.Linear(8, 1),
    ).double()  # fmt: skip
    x = points(4, 5)
    leaves = leaves_of(critic, x)
    theirs = by_grad(penalty_of(critic, x), leaves)
    assert_exact(by_grad(penalty_of(critic, x, prune_zero_paths, every_activation), leaves), theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["F.silu", "F.gelu", "torch.tanh", "F.logsigmoid", "F.elu"])
def test_other_dtypes(name, dtype):
    """Within what rounding each of the arrays that PyTorch makes on its way may change."""
    weight, x = points(5, 6), points(4, 5)
    half = [tensor.detach().to(dtype).requires_grad_() for tensor in (weight, x)]
    ours = derivatives(lambda x: replaced(REPLACED[name], x), *half, 2)
    exact = derivatives(REPLACED[name], *(t.detach().double().requires_grad_() for t in half), 2)
    assert {g.dtype for g in ours} == {dtype}
    assert_exact([g.double() for g in ours], exact, rtol=64 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["F.silu", "F.softplus", "F.gelu", "torch.sigmoid"])
def test_autocast(name):
    """The dtype is that of the input, or whatever PyTorch makes of it."""
    function = REPLACED[name]
    weight, x = points(5, 6), points(4, 5)
    low = [tensor.detach().float().requires_grad_() for tensor in (weight, x)]
    results = []
    for call in (lambda x: replaced(function, x), function):
        with torch.autocast("cpu", torch.bfloat16):
            output = call(low[1] @ low[0])
        gradients = torch.autograd.grad(output.float().square().sum(), low, create_graph=True)
        results.append([output, *gradients, *by_grad(gradients[0].square().sum(), low)])
    assert [g.dtype for g in results[0]] == [g.dtype for g in results[1]]
    assert_exact(*results, rtol=64 * torch.finfo(torch.bfloat16).eps)


def test_layouts():
    """channels_last, transposed and expanded: also of the gradient and of the tangent."""
    image = points(2, 3, 4, 5).detach()
    grad = torch.ones((), dtype=torch.float64).expand(2, 3, 4, 5).requires_grad_()
    for x in (
        image.to(memory_format=torch.channels_last), image.transpose(0, 3), image[:, 1:2],
        image[..., ::2], image[:, :, :1].expand(2, 3, 4, 5), image[0, 0, 0, 0], image[:0],
    ):  # fmt: skip
        x = x.detach().requires_grad_()
        tangent = torch.randn(x.shape[::-1], dtype=torch.float64)
        tangent = tangent.permute(list(reversed(range(x.dim()))))
        results = []
        for call in (lambda x: replaced(F.gelu, x), F.gelu):
            came = grad if x.shape == grad.shape else torch.ones_like(x).requires_grad_()
            (first,) = torch.autograd.grad(call(x), x, came, create_graph=True)
            results.append(list(torch.autograd.grad(first, [came, x], tangent)))
        if x.numel():
            assert_exact(*results)
        assert [g.shape for g in results[0]] == [g.shape for g in results[1]]


def test_saved_tensors_are_protected_from_changes_in_place():
    """As PyTorch's are: of tanh the output, of silu the input, and nothing else."""
    for function, change_input, fails in (
        (torch.tanh, True, False),
        (torch.tanh, False, True),
        (F.silu, True, True),
        (F.silu, False, False),
    ):
        for call in (function, lambda x, function=function: replaced(function, x)):
            hidden = points(3, 4) * 2
            output = call(hidden)
            (hidden if change_input else output).add_(1)
            expected = (
                pytest.raises(RuntimeError, match="modified by an inplace operation")
                if fails
                else nullcontext()
            )
            with expected:
                output.sum().backward()


def test_nothing_else_is_kept():
    """No more memory than PyTorch's own takes: one tensor of the forward pass."""
    for function in (torch.tanh, F.silu, F.logsigmoid):
        kept = []
        for call in (function, lambda x, function=function: replaced(function, x)):
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
            ):
                call(points(8))
            kept.append(sum(sizes))
        assert kept[1] <= kept[0]


def test_retained_graph_and_second_backward():
    critic, x = mlp(5, 8, 1, activation=nn.SiLU), points(4, 5)
    leaves = leaves_of(critic, x)
    penalty = penalty_of(critic, x, context=every_activation)
    assert_identical(by_grad(penalty, leaves), by_grad(penalty, leaves))
    penalty.backward()
    with pytest.raises(RuntimeError, match="second time"):
        penalty.backward()


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh])
def test_checkpointed_critic(activation):
    critic, x = mlp(5, 8, 7, 1, activation=activation), points(4, 5)
    leaves = leaves_of(critic, x)

    def checkpointed(x):
        return critic[2:](checkpoint(critic[:2], x, use_reentrant=False))

    ours = by_grad(penalty_of(checkpointed, x, context=every_activation), leaves)
    assert_exact(ours, by_grad(penalty_of(critic, x), leaves))


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh, nn.LogSigmoid])
def test_inside_transforms(activation):
    """Left to PyTorch."""
    critic, x = mlp(5, 8, 7, 1, activation=activation), points(4, 5)

    def gradients(x):
        return torch.func.grad(lambda x: critic(x).sum())(x)

    leaves = leaves_of(critic, x)
    theirs = by_grad(gradients(x).square().sum(), leaves)
    with every_activation():
        ours = by_grad(gradients(x).square().sum(), leaves)
        per_sample = torch.func.vmap(gradients)(x[:, None])
        primal, tangent = torch.func.jvp(critic, (x.detach(),), (torch.ones_like(x),))
    assert_identical(ours, theirs)
    assert_exact([per_sample[:, 0], primal], [gradients(x), critic(x)])
    assert tangent.shape == primal.shape


@pytest.mark.parametrize("name", ["F.silu", "torch.tanh", "F.softsign", "F.logsigmoid"])
def test_vectorised_backward_passes(name):
    """Gradients that stand for a batch of gradients, at the first order and at the second."""
    x, directions = points(3, 4), torch.randn(5, 3, 4, dtype=torch.float64)
    results = []
    for call in (lambda x: replaced(REPLACED[name], x), REPLACED[name]):
        output = call(x * 2)
        first = torch.autograd.grad(
            output, x, directions, is_grads_batched=True, create_graph=True
        )[0]
        (second,) = torch.autograd.grad(first.square().sum(), x)
        (slope,) = torch.autograd.grad(call(x * 2).sum(), x, create_graph=True)
        (rows,) = torch.autograd.grad(slope, x, directions, is_grads_batched=True)
        results.append([first, second, rows])
    assert_exact(*results)


def test_vectorised_hessian():
    critic, x = mlp(5, 8, 1, activation=nn.SiLU), points(4, 5)

    def scores(x):
        with every_activation():
            return critic(x).sum()

    ours = torch.autograd.functional.hessian(scores, x, vectorize=True)
    assert_exact([ours], [torch.autograd.functional.hessian(lambda x: critic(x).sum(), x)])


def test_forward_mode():
    """Where it is entered before the call, PyTorch does; the tangents of both are the same."""
    x = points(3, 4)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        tangents = [
            forward_ad.unpack_dual(call(dual)).tangent
            for call in (lambda x: replaced(F.silu, x), F.silu)
        ]
    assert_identical(tangents[:1], tangents[1:])


@pytest.mark.parametrize("compiled", ["whole", "activation"])
def test_compiled_regions_are_left_to_pytorch(compiled):
    critic, x = mlp(5, 8, 1, activation=nn.SiLU), points(4, 5)
    leaves = leaves_of(critic, x)
    theirs = by_grad(critic(x).square().sum(), leaves)
    call = torch.compile(critic, backend="eager", fullgraph=compiled == "whole")
    with every_activation():
        ours = by_grad(call(x).square().sum(), leaves)
    assert_exact(ours, theirs)


def test_least_work():
    """Calls below it stay PyTorch's; it is counted in elements that need not be moved."""
    x, work = points(4, 5), 20 * SPARED["silu"]
    for least, expected in ((work, True), (work + 1, False)):
        with Replacing([replace(ACTIVATION, least_work=least)]) as replacing:
            assert is_replaced(F.silu(x)) is expected
        assert replacing.largest_work == {"activation": work}
        with without_thresholds(), Replacing([replace(ACTIVATION, least_work=least)]):
            assert is_replaced(F.silu(x))


def arrays_moved(function, x, grad, tangent):
    """By a backward pass that is recorded, and by the backward pass of that, in sizes of x."""
    output = function(x)
    with CallCounter() as counter:
        (first,) = torch.autograd.grad(output, x, grad, create_graph=True)
        torch.autograd.grad(first, [grad, x], tangent)
    return counter.bytes / (x.numel() * x.element_size())


@pytest.mark.parametrize("name", [name for name in REPLACED if name.startswith(("F.", "torch."))])
def test_what_is_spared(name):
    """What the table takes for the work of a call, in float32, down to whole arrays."""
    x, grad = (points(4096).float() for _ in range(2))
    tangent = torch.randn_like(x)
    function = REPLACED[name]
    ours = arrays_moved(lambda x: replaced(function, x), x, grad, tangent)
    spared = arrays_moved(function, x, grad, tangent) - ours
    call = replaced(function, x).grad_fn.call
    assert math.floor(spared) == SPARED[call.activation]


def test_without_kernels_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(native, "serves", lambda op, device_type: False)
    assert not is_replaced(replaced(F.silu, points(3, 4)))
