"""Critics that cannot be differentiated twice: errors that name the way out."""

import functools
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.comparing import assert_same_gradients, gradients_of
from tests.critics import mlp
from tests.functions import DetachedTanh, OnceTanh
from wgan_fast import fast_gradient_penalty, r1_penalty
from wgan_fast._penalise import double_backward_errors

WAY_OUT = r'Take double_backward="finite_difference"'
exact = pytest.mark.parametrize("double_backward", ["pruned", "plain"])
sliced = pytest.mark.parametrize("chunk_size", [None, 2])


class Critic(nn.Module):
    """Layers around a function."""

    def __init__(self, function):
        super().__init__()
        self.enter, self.leave, self.function = nn.Linear(3, 8), nn.Linear(8, 1), function

    def forward(self, x):
        return self.leave(self.function(self.enter(x)))


def flash_attention(x):
    """Past all switches between the backends of attention."""
    q = x.reshape(len(x), 1, -1, 1) * torch.ones(8)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)[0].mean((1, 3))


#: What has no double backward, and PyTorch's words for it.
FUNCTIONS = {
    "once_differentiable": (OnceTanh.apply, "@once_differentiable"),
    "hardsigmoid": (F.hardsigmoid, "derivative for aten::hardsigmoid_backward is not implemented"),
    "flash attention": (flash_attention, "flash_attention.* is not implemented"),
    "cdist": (lambda x: torch.cdist(x, torch.eye(8)), "CdistBackward is not implemented"),
    "pdist": (
        lambda x: x + F.pdist(x.flatten()[:, None]).mean(),
        "PdistBackward is not implemented",
    ),
}
every_function = pytest.mark.parametrize(("function", "cause"), FUNCTIONS.values(), ids=FUNCTIONS)


def samples(batch=4):
    return torch.randn(2, batch, 3)


@every_function
@exact
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: lambda x: net(x)])
def test_the_way_out_is_named_where_the_penalty_is_differentiated(
    function, cause, double_backward, wrap
):
    critic = Critic(function)
    for _ in range(3):  # at the first call, and at every later one
        penalty = fast_gradient_penalty(wrap(critic), *samples(), double_backward=double_backward)
        assert penalty.isfinite()
        with pytest.raises(RuntimeError, match=rf"cannot be differentiated twice.*{cause}") as info:
            penalty.backward()
        assert WAY_OUT in str(info.value)
        assert ('double_backward="pruned"' in str(info.value)) == (double_backward == "plain")


@pytest.mark.filterwarnings("ignore:the critic's score of a sample depends")  # pdist's does
@every_function
@exact
def test_slices_say_so_at_once(function, cause, double_backward):
    given = {"chunk_size": 2, "double_backward": double_backward}
    with pytest.raises(RuntimeError, match=rf"{cause}.*{WAY_OUT}"):
        fast_gradient_penalty(Critic(function), *samples(), **given)
    penalty = fast_gradient_penalty(Critic(function), *samples(), reduction="none", **given)
    with pytest.raises(RuntimeError, match=rf"{cause}.*{WAY_OUT}"):
        penalty.sum().backward()


@every_function
@exact
def test_the_gradients_of_some_parameters_are_refused_as_well(function, cause, double_backward):
    critic = Critic(function)
    penalty = fast_gradient_penalty(critic, *samples(), double_backward=double_backward)
    with pytest.raises(RuntimeError, match=WAY_OUT):
        torch.autograd.grad(penalty, critic.enter.weight)


def distances(x):
    return (x[:, None] - torch.eye(8, dtype=x.dtype)).square().sum(2).sqrt()


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (OnceTanh.apply, torch.tanh),
        (DetachedTanh.apply, torch.tanh),
        (lambda x: torch.cdist(x, torch.eye(8, dtype=x.dtype)), distances),
    ],
)
@sliced
def test_the_way_out_leads_there(function, same, chunk_size):
    critic, (real, fake) = Critic(function).double(), samples(6).double()
    given = {"epsilon": torch.rand(6, dtype=torch.float64), "chunk_size": chunk_size}
    ours = fast_gradient_penalty(critic, real, fake, double_backward="finite_difference", **given)
    ours = gradients_of(ours, critic)[:-1]  # the last bias only shifts the scores
    critic.function = same
    expected = gradients_of(fast_gradient_penalty(critic, real, fake, **given), critic)[:-1]
    assert_same_gradients(ours, expected, rtol=1e-6)


@exact
def test_a_compiled_critic(double_backward):
    torch._dynamo.reset()
    critic = torch.compile(mlp(nn.Tanh, size=3), backend="aot_eager")
    for _ in range(2):
        penalty = fast_gradient_penalty(critic, *samples(), double_backward=double_backward)
        message = rf"torch\.compile with aot_autograd does not .*{WAY_OUT}.* torch\.compile was giv"
        with pytest.raises(RuntimeError, match=message):
            penalty.backward()
    with pytest.raises(RuntimeError, match=message):
        fast_gradient_penalty(critic, *samples(), chunk_size=2, double_backward=double_backward)


@exact
def test_critics_are_looked_through_at_their_first_call(double_backward, monkeypatch):
    walks = []
    nodes_of = double_backward_errors.nodes_of
    monkeypatch.setattr(
        double_backward_errors, "nodes_of", lambda result: walks.append(1) or nodes_of(result)
    )
    net = mlp(nn.Tanh, size=3)
    critics = [net, net.forward, functools.partial(net.forward), lambda x: net(x)]
    for critic in critics:
        for shape in [(4, 3), (6, 3)]:
            for chunk_size in (None, 2):
                given = {"chunk_size": chunk_size, "double_backward": double_backward}
                r1_penalty(critic, torch.randn(shape), **given).backward()
    assert len(walks) == 2 * 3  # a partial of a method is that method
    walks.clear()
    r1_penalty(net, torch.randn(4, 3), double_backward="finite_difference")
    with torch.no_grad():
        r1_penalty(mlp(nn.Tanh, size=3), torch.randn(4, 3))
    assert not walks


def test_what_was_found_keeps_nothing_alive():
    """No cycle: a graph goes as soon as the penalty does, and the critic with it."""
    gc.collect()
    gc.disable()
    try:
        critic = Critic(OnceTanh.apply)
        gone = weakref.ref(critic)
        penalty = fast_gradient_penalty(critic, *samples())
        leaf = weakref.ref(critic.enter.weight)
        del penalty, critic
        assert leaf() is None
        assert gone() is None
    finally:
        gc.enable()
