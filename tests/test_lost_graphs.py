"""Critics whose gradients PyTorch would silently get wrong: a part of them has no graph."""

import dataclasses
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from tests.comparing import assert_same_gradients, gradients_of
from tests.critics import mlp
from tests.functions import DetachedTanh, OnceDouble, OnceTanh, Stopped
from wgan_fast import _per_critic, fast_gradient_penalty

WAY_OUT = r'Take double_backward="finite_difference"'
exact = pytest.mark.parametrize("double_backward", ["pruned", "plain"])
sliced = pytest.mark.parametrize("chunk_size", [None, 2])


def samples(batch=4):
    return torch.randn(2, batch, 3)


@exact
@sliced
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_function_that_forgets_its_graph_and_comes_last(double_backward, chunk_size, order):
    """PyTorch says nothing, and leaves out of the gradient what the function was to add."""
    net = nn.Linear(3, 8)
    critic = [lambda x: net(OnceTanh.apply(net(x)[:, :3])), lambda x: OnceTanh.apply(net(x))]
    for index in order:
        with pytest.raises(RuntimeError, match=WAY_OUT):
            fast_gradient_penalty(
                critic[index], *samples(), chunk_size=chunk_size, double_backward=double_backward
            ).backward()


@exact
@pytest.mark.parametrize("function", [OnceTanh.apply, OnceDouble.apply])
def test_the_gradients_of_some_parameters_would_lack_a_part(double_backward, function):
    """PyTorch's own error stands where nobody comes by who asks for these gradients alone."""
    net = nn.Linear(3, 8)
    penalty = fast_gradient_penalty(
        lambda x: function(net(x)).sin(), *samples(), double_backward=double_backward
    )
    with pytest.raises(RuntimeError, match="once_differentiable.*" + WAY_OUT):
        torch.autograd.grad(penalty, net.weight)


@exact
def test_what_is_linear_may_come_last(double_backward):
    net, (real, fake) = nn.Sequential(nn.Linear(3, 8), nn.Tanh()), samples()
    given = {"epsilon": torch.rand(4), "double_backward": double_backward}
    grads = [
        gradients_of(fast_gradient_penalty(critic, real, fake, **given), net)
        for critic in (lambda x: OnceDouble.apply(net(x)), lambda x: 2 * net(x))
    ]
    assert_same_gradients(*grads, rtol=1e-6)


@exact
def test_functions_of_the_weights_alone_are_differentiated_once(double_backward):
    """They are not on the way to the samples."""
    weight, (real, fake) = torch.randn(3, 8, requires_grad=True), samples()
    given = {"epsilon": torch.rand(4), "double_backward": double_backward}
    grads = []
    for function in (OnceTanh.apply, torch.tanh):
        penalty = fast_gradient_penalty(
            lambda x, function=function: (x @ function(weight)).sigmoid(), real, fake, **given
        )
        grads.append(torch.autograd.grad(penalty, weight)[0])
    assert_same_gradients(grads[:1], grads[1:], rtol=1e-5)


@exact
@sliced
@pytest.mark.parametrize("function", [DetachedTanh.apply, OnceTanh.apply])
def test_a_backward_pass_that_loses_its_graph(double_backward, chunk_size, function):
    """The input gradient has one all the same, by way of the weights before and behind."""
    first, second = nn.Linear(3, 8), nn.Linear(8, 1)
    given = {"chunk_size": chunk_size, "double_backward": double_backward}
    for _ in range(2):
        for critic in (
            lambda x: second(function(first(x))),
            lambda x: second(function(first(x)).sin()).exp(),
        ):
            with pytest.raises(RuntimeError, match="cannot be differentiated twice.*" + WAY_OUT):
                fast_gradient_penalty(critic, *samples(), **given).backward()


class Scorer:
    """No module, but with layers of its own."""

    def __init__(self, function):
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 1)
        self.function = function

    def __call__(self, x):
        return self.second(self.function(self.first(x)))


@dataclasses.dataclass
class EqualScorer(Scorer):
    """It has an ``==`` of its own, and therefore no hash."""

    function: Any

    def __post_init__(self):
        super().__init__(self.function)


def _of_two_modules(net, rest):
    return lambda x: rest(net(x))


class Body(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.function(x))


KINDS = ["object", "object with ==", "method", "method that closes over a module", "two modules"]


def _critics_of_one_class(kind):
    """Of a function each: a critic that calls it."""
    if kind == "two modules":
        net = nn.Linear(3, 8)
        return lambda function: _of_two_modules(net, Body(function))
    if kind == "method":
        return lambda function: Scorer(function).__call__
    if kind == "method that closes over a module":
        net = nn.Linear(3, 8)

        class Closing(Scorer):
            def score(self, x):
                return self.second(self.function(net(x)))

        return lambda function: Closing(function).score
    return {"object": Scorer, "object with ==": EqualScorer}[kind]


@exact
@sliced
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_fine_of_one_critic_is_not_believed_of_another(kind, double_backward, chunk_size):
    make = _critics_of_one_class(kind)
    fine, lost = make(torch.tanh), make(DetachedTanh.apply)
    given = {"chunk_size": chunk_size, "double_backward": double_backward}
    fast_gradient_penalty(fine, *samples(), **given).backward()
    with pytest.raises(RuntimeError, match="cannot be differentiated twice.*" + WAY_OUT):
        fast_gradient_penalty(lost, *samples(), **given).backward()


def test_objects_are_not_kept_alive():
    critic = Scorer(torch.tanh)
    fast_gradient_penalty(critic, *samples())
    gone, count = weakref.ref(critic), len(_per_critic._memories)
    del critic
    gc.collect()
    assert gone() is None
    assert len(_per_critic._memories) < count


@exact
def test_a_gradient_of_zero_needs_no_graph(double_backward):
    net, (real, fake) = mlp(nn.Tanh, size=3), samples()
    given = {"epsilon": torch.rand(4), "double_backward": double_backward}
    grads = [
        gradients_of(
            fast_gradient_penalty(lambda x, f=f: net(x + f(x.sin())), real, fake, **given), net
        )
        for f in (Stopped.apply, torch.detach)
    ]
    assert_same_gradients(*grads, rtol=1e-6)


def with_detaching_hook(x, weight):
    h = x * 1
    if h.requires_grad:
        h.register_hook(torch.detach)
    return (h @ weight).sum(1)


@exact
@sliced
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(
    "critic",
    [
        lambda x, weight: DetachedTanh.apply(x) @ weight,
        lambda x, weight: OnceTanh.apply(x + weight.sum()),
        with_detaching_hook,
    ],
)
def test_a_gradient_without_a_graph_is_an_error(double_backward, chunk_size, reduction, critic):
    weight = torch.randn(3, 3, requires_grad=True)
    given = {"chunk_size": chunk_size, "reduction": reduction, "critic_args": (weight * 1,)}

    def penalty(**choice):
        return fast_gradient_penalty(critic, *samples(5), **given, **choice).sum()

    for _ in range(2):
        with pytest.raises(RuntimeError, match="the penalty would train nothing.*" + WAY_OUT):
            penalty(double_backward=double_backward)
    with torch.no_grad():
        assert penalty(double_backward=double_backward).isfinite()
    penalty(double_backward="finite_difference").backward()
    assert weight.grad.any()


@exact
@sliced
def test_a_gradient_without_a_graph_may_be_right(double_backward, chunk_size):
    """Where nothing can be trained, and where the gradient is the same whatever the parameters."""
    given = {"chunk_size": chunk_size, "double_backward": double_backward}
    frozen, bias = nn.Linear(3, 3).requires_grad_(False), torch.ones(3, requires_grad=True)
    for critic in (
        lambda x: DetachedTanh.apply(x),
        lambda x: DetachedTanh.apply(frozen(x)),
        lambda x: OnceTanh.apply(frozen(x)),
        frozen,
        lambda x: x.sum(1),
        lambda x: frozen(x) + bias,
    ):
        penalty = fast_gradient_penalty(critic, *samples(), **given)
        assert penalty.isfinite()
        assert not penalty.requires_grad


def test_modules_that_are_new_in_every_call_leave_nothing():
    """A function may close over them beside a critic that stays."""
    critic, counts = nn.Linear(2, 1), []
    for _ in range(3):
        new = nn.Identity()
        function = lambda_of(critic, new)
        memory = _per_critic.memory_of(function, None)
        assert _per_critic.memory_of(function, None) is memory
        counts.append(len(_per_critic._memories[id(critic)][1]))
        del function, new
        gc.collect()
    assert counts == [1, 1, 1]


def lambda_of(critic, new):
    return lambda x: critic(new(x))
