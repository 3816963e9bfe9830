"""chunk_size: the same penalty and gradients, in memory that follows the slice."""

import collections
import types

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.comparing import (
    assert_close,
    assert_same_gradients,
    every_critic,
    gradients_of,
)
from tests.critics import CRITICS, NAMED, mlp
from tests.memory import PeakMemory
from tests.textbook import textbook_gradient_penalty
from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise.chunks import _WithGradients
from wgan_fast._torch_internals import multiplied

SLICEABLE = [case for case in CRITICS if not case.batch_dependent]
REDUCTIONS = ["mean", "sum", "none", "max"]


def results(case, batch=5, **arguments):
    """Penalty, norms and gradients of a case; epsilon from the seed."""
    module, critic = case.make()
    torch.manual_seed(3)
    penalty, norms = fast_gradient_penalty(
        critic, *case.samples(batch), return_norms=True, **case.arguments(batch), **arguments
    )
    return penalty, norms, gradients_of(penalty, module)


@every_critic(SLICEABLE)
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_every_critic(case, chunk_size, double_backward):
    for mode in (["mean", "sum"][CRITICS.index(case) % 2], ["none", "max"][chunk_size % 2]):
        whole = results(case, reduction=mode, double_backward=double_backward)
        sliced = results(
            case, reduction=mode, chunk_size=chunk_size, double_backward=double_backward
        )
        assert_close(sliced[0], whole[0])
        assert_close(sliced[1], whole[1])
        assert_same_gradients(sliced[2], whole[2])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("chunk_size", [1, 3, 4, 5, 6, 1000])
def test_every_size(chunk_size, reduction, backend):
    case = NAMED["projection_labels_in_kwargs"]
    given = {"reduction": reduction, "backend": backend, "one_sided": True, "target": 0.9}
    whole = results(case, **given)
    sliced = results(case, chunk_size=chunk_size, **given)
    assert_close(sliced[0], whole[0])
    assert_close(sliced[1], whole[1])
    assert_same_gradients(sliced[2], whole[2])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scaled_and_added_to_other_losses(reduction):
    """The penalty is an ordinary tensor: what is done with it reaches the gradients."""
    case = NAMED["dcgan_smooth"]
    real, fake = case.samples(5)
    grads = []
    for chunk_size in (None, 2):
        module, critic = case.make()
        torch.manual_seed(3)
        penalty = fast_gradient_penalty(
            critic, real, fake, chunk_size=chunk_size, reduction=reduction
        )
        loss = critic(fake).mean() - critic(real).mean() + (3 * penalty**2).sum()
        loss.backward()
        grads.append([p.grad for p in module.parameters()])
    assert_same_gradients(*grads)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_accumulation(reduction):
    case = NAMED["mlp_tanh"]
    module, critic = case.make()
    given = {"epsilon": case.epsilon(), "chunk_size": 3, "reduction": reduction}
    grads = []
    for _ in range(2):
        fast_gradient_penalty(critic, *case.samples(), **given).sum().backward()
        grads.append([None if p.grad is None else p.grad.clone() for p in module.parameters()])
    assert_same_gradients(grads[1], [None if g is None else 2 * g for g in grads[0]])


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_hooks_of_parameters_run_once_on_the_whole_gradient(reduction):
    case = NAMED["dcgan"]
    module, critic = case.make()
    expected = results(case, reduction=reduction)[2]
    seen = []
    weight = module.critic[0].weight
    weight.register_hook(lambda grad: seen.append(grad) or 2 * grad)
    weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    torch.manual_seed(3)
    penalty = fast_gradient_penalty(critic, *case.samples(5), chunk_size=2, reduction=reduction)
    assert not seen
    penalty.backward(torch.linspace(0.5, 1.5, penalty.numel()).reshape(penalty.shape).double())
    grad, accumulated = seen
    assert_close(grad, expected[0])
    assert_close(accumulated, 2 * expected[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("wanted", ["leaf", "made from a leaf"])
def test_gradients_reach_what_the_arguments_were_made_from(wanted, reduction):
    """An argument of the critic with a graph of its own, which another loss shares."""
    net = mlp(nn.Tanh, size=8).double()
    start = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 6, 5, dtype=torch.float64)
    epsilon = torch.rand(6, dtype=torch.float64)
    grads = []
    for penalty_of, choice in [
        (textbook_gradient_penalty, {}),
        (fast_gradient_penalty, {"chunk_size": 4}),
    ]:
        given = torch.sin(start)
        penalty = penalty_of(
            lambda x, given: net(torch.cat([x, given], 1)),
            real,
            fake,
            epsilon=epsilon,
            critic_args=(given,),
            reduction=reduction,
            **choice,
        )
        loss = penalty.sum() + given.square().sum()
        inputs = [start if wanted == "leaf" else given, net[0].weight]
        grads.append(torch.autograd.grad(loss, inputs))
    assert_same_gradients(grads[1], grads[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_with_a_graph_of_their_own(reduction):
    """Made once from a leaf, for all slices and for another loss (hypernetworks, meta-learning)."""
    start = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 6, 5, dtype=torch.float64)
    given = {"epsilon": torch.rand(6, dtype=torch.float64), "reduction": reduction}
    grads = []
    for chunk_size in (None, 2):
        weight = start.exp() / 5
        penalty = fast_gradient_penalty(
            lambda x, weight=weight: (x @ weight).tanh().sum(1), real, fake, chunk_size=chunk_size,
            **given,
        )  # fmt: skip
        grads += torch.autograd.grad(penalty.sum() + weight.square().sum(), [start])
    assert_same_gradients(grads[1:], grads[:1])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_random_critics_draw_the_same_again(reduction):
    """Dropout in a slice is the same when "none" computes the slice anew in the backward pass."""
    net = nn.Sequential(nn.Linear(5, 64), nn.Dropout(0.5), nn.Tanh(), nn.Linear(64, 1)).double()
    real, fake = torch.randn(2, 6, 5, dtype=torch.float64)
    given = {"epsilon": torch.rand(6, dtype=torch.float64), "reduction": reduction}
    torch.manual_seed(3)
    sliced = fast_gradient_penalty(net, real, fake, chunk_size=2, **given)
    torch.manual_seed(3)
    parts = [
        textbook_gradient_penalty(
            net, real[i : i + 2], fake[i : i + 2], epsilon=given["epsilon"][i : i + 2],
            reduction="none",
        )
        for i in (0, 2, 4)
    ]  # fmt: skip
    each = torch.cat(parts)
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each, "max": each.amax()}[reduction]
    assert_close(sliced, expected)
    assert_same_gradients(gradients_of(sliced, net), gradients_of(expected, net))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_how_often_the_critic_is_called(reduction):
    """Once for each slice; where single penalties count, again for each derivative.

    There the look at the first slice, whether samples meet in it, is such a derivative, once.
    """
    calls = []
    net = mlp(nn.Tanh).double()

    def critic(x):
        calls.append(len(x))
        return net(x)

    real, fake = torch.randn(2, 7, 5, dtype=torch.float64)
    penalty = fast_gradient_penalty(critic, real, fake, chunk_size=3, reduction=reduction)
    penalty.sum().backward()
    together = reduction in ("mean", "sum")
    most = 1 if together else 3
    assert calls.count(3) <= 2 * most + (0 if together else 1)
    assert calls.count(1) <= most


@pytest.mark.parametrize("other", [0, 1])
def test_second_derivatives_are_refused_not_wrong(other):
    """Also where another loss has second derivatives, which would hide that the penalty's lack."""
    case = NAMED["mlp_tanh"]
    module, critic = case.make()
    real, fake = case.samples()
    penalty = fast_gradient_penalty(critic, real, fake, chunk_size=2)
    weight = module.critic[0].weight
    loss = penalty + other * critic(fake).mean()
    (first,) = torch.autograd.grad(loss, weight, create_graph=True)
    message = "a penalty with chunk_size can be differentiated only once"
    with pytest.raises(RuntimeError, match=message):
        torch.autograd.grad(first.sum(), weight, retain_graph=True)
    with pytest.raises(RuntimeError, match=message):
        first.sum().backward()


def test_second_derivatives_of_single_penalties():
    case = NAMED["mlp_tanh"]
    second = []
    for chunk_size in (None, 2):
        module, critic = case.make()
        penalty = fast_gradient_penalty(
            critic, *case.samples(), chunk_size=chunk_size, reduction="none",
            epsilon=case.epsilon(),
        )  # fmt: skip
        weight = module.critic[0].weight
        (first,) = torch.autograd.grad(penalty.sum(), weight, create_graph=True)
        second.append(gradients_of(first.square().sum(), module))
    assert_same_gradients(second[1], second[0])


def test_a_critic_on_several_devices():
    """Stand-ins for tensors on two GPUs: the penalty lies on one, gradients on both."""
    with FakeTensorMode(), torch.no_grad():
        arriving = torch.ones((), device="cuda:0")
        parts = [torch.ones(3, device=f"cuda:{index}", dtype=torch.float64) for index in (0, 1)]
        # Not by autograd's engine, which would look for these GPUs.
        context = types.SimpleNamespace(saved_tensors=parts, ends=0)
        found = _WithGradients.backward(context, arriving)[-2:]
        captured = multiplied(parts, arriving)
    for grad, part in zip((*found, *captured), 2 * parts, strict=True):
        assert (grad.device, grad.dtype) == (part.device, part.dtype)


class WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_weight_may_matter_in_some_slices_only(reduction):
    """In the others it is in the graph and gets no gradient."""
    real, fake = torch.randn(2, 6, 3, dtype=torch.float64)
    given = {"epsilon": torch.rand(6, dtype=torch.float64), "reduction": reduction}
    marks = torch.tensor([[0], [0], [1], [1], [0], [0]])
    grads = []
    for chunk_size in (None, 2):
        weight = torch.ones(3, dtype=torch.float64, requires_grad=True)

        def critic(x, marks, weight=weight):
            used = weight if marks.any() else WithoutGradient.apply(weight)
            return x**3 * (marks * used + 1 - marks)

        penalty = fast_gradient_penalty(
            critic, real, fake, critic_args=(marks,), chunk_size=chunk_size, **given
        )
        grads += torch.autograd.grad(penalty.sum(), [weight])
    assert_same_gradients(grads[1:], grads[:1])


def test_keyword_arguments_in_any_mapping_are_sliced():
    case = NAMED["projection_labels_in_kwargs"]
    real, fake = case.samples()
    kwargs = case.arguments()["critic_kwargs"]
    given = {"epsilon": case.epsilon(), "chunk_size": 2}
    _, critic = case.make()
    expected = fast_gradient_penalty(critic, real, fake, critic_kwargs=kwargs, **given)
    for mapping in (types.MappingProxyType(kwargs), collections.UserDict(kwargs)):
        same = fast_gradient_penalty(critic, real, fake, critic_kwargs=mapping, **given)
        assert torch.equal(same, expected)


def peak(net, batch, chunk_size, reduction):
    """The most bytes alive at once during penalty and backward."""
    real, fake = torch.randn(2, batch, 64)
    with PeakMemory() as memory:
        penalty = fast_gradient_penalty(net, real, fake, chunk_size=chunk_size, reduction=reduction)
        penalty.sum().backward()
    return memory.peak


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_memory_follows_the_slice(activation, reduction):
    """Counted for ten layers, so that activations outweigh everything else."""
    net = nn.Sequential(
        *(layer for _ in range(10) for layer in (nn.Linear(64, 64, bias=False), activation()))
    )
    size = 256
    samples = 4 * 64 * size  # bytes
    whole = peak(net, 8 * size, None, reduction)
    one_slice = peak(net, size, None, reduction)
    three_slices = peak(net, 3 * size, size, reduction)
    eight_slices = peak(net, 8 * size, size, reduction)
    assert whole > 7 * one_slice
    # what is kept of a slice: its norms and penalties; where single penalties count also its
    # points with their gradient and the state of the random numbers
    kept = 2 * 4 * size
    if reduction in ("none", "max"):
        kept += 2 * samples + 4 * 4 * size + 6000
    assert eight_slices <= three_slices + 5 * kept
    # Beside the sums of the gradients. More than one slice, whose graph dissolves as it is gone
    # through: here it stays, for what the weights were made from may be common to all slices.
    sums = 2 * sum(4 * p.numel() for p in net.parameters())
    assert eight_slices <= 1.5 * one_slice + sums + 8 * kept
