"""The critic: what it may be, what it may return, and batch normalisation."""

import functools
import gc
import weakref

import pytest
import torch
from torch import nn

from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise.critic import input_gradients, module_of


def samples(batch=4):
    return torch.randn(2, batch, 3)


def with_batch_norm():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


@pytest.mark.parametrize("critic", [None, 3, "critic", torch.ones(2)], ids=str)
def test_critic_must_be_callable(critic):
    with pytest.raises(TypeError, match=r"critic must be callable, .* but it is "):
        fast_gradient_penalty(critic, *samples())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "but it returned None"),
        (lambda x: (x.sum(1), x), "but it returned a tuple"),
        (lambda x: [x.sum(1)], "but it returned a list"),
        (lambda x: {"score": x.sum(1)}, "but it returned a dict"),
        (lambda x: x.sum().item(), "but it returned a float"),
        (lambda x: x.detach().numpy(), "but it returned a ndarray"),
        (lambda x: x.argmax(1), r"floating scores, but they are torch\.int64"),
        (lambda x: x.sum(1) > 0, r"floating scores, but they are torch\.bool"),
        (lambda x: x.sum(1) + 1j, r"floating scores, but they are torch\.complex64"),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_critic_must_return_a_floating_tensor(returned, message, chunk_size):
    with pytest.raises(TypeError, match=rf"critic must return .*{message}"):
        fast_gradient_penalty(returned, *samples(), chunk_size=chunk_size)


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        (lambda x: x.mean(), r"\[\]"),
        (lambda x: x.mean(0), r"\[3\]"),
        (lambda x: x.sum(1)[:1], r"\[1\]"),
        (lambda x: x.sum(1)[None], r"\[1, 4\]"),
        (lambda x: torch.cat([x, x]).sum(1), r"\[8\]"),
        (lambda x: x[:0], r"\[0, 3\]"),
    ],
)
def test_critic_must_return_a_row_for_each_sample(returned, shape):
    message = rf"critic must return a score for each of the 4 samples.* returned shape {shape};"
    with pytest.raises(ValueError, match=message):
        fast_gradient_penalty(returned, *samples())


@pytest.mark.parametrize(
    "critic",
    [
        lambda x: x.sum(1).detach(),
        lambda x: torch.no_grad()(torch.sum)(x, 1),
        lambda x: torch.ones(len(x)),
        lambda x: torch.ones(len(x), requires_grad=True) * 2,
        lambda x: x.sum(1).detach().requires_grad_(),
    ],
    ids=["detached", "no_grad", "constant", "connected to something else", "a new leaf"],
)
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("grad", [True, False])
def test_scores_must_depend_on_the_input(critic, chunk_size, grad):
    message = r"critic must return scores that depend on its input .* not connected to it"
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=message):
        fast_gradient_penalty(critic, *samples(), chunk_size=chunk_size)


def test_errors_of_the_critic_are_its_own():
    def critic(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fast_gradient_penalty(critic, *samples())


def test_input_gradients():
    points = torch.randn(4, 3, requires_grad=True)
    gradients = input_gradients(
        lambda x, k, *, m: (k * x**2 + m).sum(1), points, (3,), {"m": 1},
        create_graph=True, prune=True, module=None,
    )  # fmt: skip
    assert torch.allclose(gradients, 6 * points)
    assert gradients.requires_grad
    assert points.grad is None


def test_module_of():
    net = with_batch_norm()
    assert module_of(net) is net
    assert module_of(net.forward) is net
    assert module_of(functools.partial(functools.partial(net.forward))) is net
    assert module_of(lambda x: net(x)) is None
    assert module_of(torch.sum) is None


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: net.forward, functools.partial])
def test_batch_norm_warns_once_by_name(wrap):
    net = with_batch_norm()
    message = r"batch normalisation in training mode: 1 \(BatchNorm1d\)\. .* batch"
    with pytest.warns(UserWarning, match=message) as record:
        fast_gradient_penalty(wrap(net), *samples())
    assert record[0].filename == __file__  # it points at the caller's line
    fast_gradient_penalty(wrap(net), *samples())  # warnings are errors here
    net.eval()
    fast_gradient_penalty(wrap(net), *samples())
    net.train()
    fast_gradient_penalty(wrap(net), *samples())
    with pytest.warns(UserWarning, match="BatchNorm1d"):  # another critic, another warning
        fast_gradient_penalty(wrap(with_batch_norm()), *samples())


def test_batch_norm_in_eval_mode_says_nothing_until_it_trains():
    net = with_batch_norm().eval()
    fast_gradient_penalty(net, *samples())
    net.train()
    with pytest.warns(UserWarning, match="BatchNorm1d"):
        fast_gradient_penalty(net, *samples())


def test_frozen_batch_norm_says_nothing():
    net = with_batch_norm()
    net[1].eval()
    fast_gradient_penalty(net, *samples())


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm([4, 5]), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4)], ids=repr
)
def test_other_normalisation_says_nothing(norm):
    net = nn.Sequential(nn.Linear(3, 20), nn.Unflatten(1, (4, 5)), norm, nn.Tanh())
    fast_gradient_penalty(net, *samples())  # warnings are errors here


def test_critics_are_not_kept_alive():
    net = with_batch_norm()
    with pytest.warns(UserWarning, match="BatchNorm1d"):
        fast_gradient_penalty(net, *samples())
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
