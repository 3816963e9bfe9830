"""CriticCall: the three tools together, each where it pays."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.hooks import RemovableHandle

from benchmarks.flops import flops_of
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
from wgan_fast.second_order import CriticCall, critic_call


def penalty_with(critic, x, module="the critic"):
    with CriticCall(critic if module == "the critic" else module, x) as call:
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    return ((call.prune(gradients).flatten(1).norm(dim=1) - 1) ** 2).mean()


@pytest.fixture
def large():
    """A critic that is large enough for everything to pay, and points for it."""
    critic = nn.Sequential(
        nn.Conv2d(3, 64, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(64, 128, 3, 2, 1),
        nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128 * 8 * 8, 1),
    ).double()  # fmt: skip
    return critic, points(120, 3, 32, 32)


def test_floor_of_a_large_critic(large):
    critic, x = large
    forward = flops_of(lambda: critic(x))
    assert flops_of(lambda: penalty_of(critic, x).backward()) > 6.6 * forward
    assert flops_of(lambda: penalty_with(critic, x).backward()) <= 4.1 * forward
    assert flops_of(lambda: penalty_with(critic, x, module=None).backward()) <= 4.1 * forward


def test_gradients_of_a_large_critic(large):
    critic, x = large
    leaves = list(critic.parameters())
    theirs = by_grad(penalty_of(critic, x), leaves)
    assert_exact(by_grad(penalty_with(critic, x), leaves), theirs)


def test_points_get_no_zeros(large):
    """Nobody asks for their gradient, and they are large."""
    critic, x = large
    penalty_with(critic, x).backward()
    assert x.grad is None


def cuts(critic, x, module="the critic"):
    """How many functions are cut for one penalty."""
    before = RemovableHandle.next_id
    penalty_with(critic, x, module)
    return RemovableHandle.next_id - before


def test_small_critics_are_left_alone():
    small, large = mlp(2, 16, 1), mlp(2, 512, 512, 1)
    assert cuts(small, points(64, 2)) == 0
    assert cuts(small, points(64, 2), module=None) == 1
    assert cuts(large, points(64, 2)) == 2
    assert cuts(large, points(1, 2)) == 0


def test_critics_with_nothing_to_cut_are_not_searched_every_time(monkeypatch):
    critic, x = mlp(2, 512, 512, 1, activation=nn.Tanh), points(64, 2)
    walks = []
    cut = critic_call.cut_zero_paths
    monkeypatch.setattr(critic_call, "cut_zero_paths", lambda g: walks.append(1) or cut(g))
    for _ in range(1 + critic_call.PATIENCE):
        penalty_with(critic, x)
    assert len(walks) == 1
    critic[1] = critic[3] = nn.ReLU()
    assert [cuts(critic, x), cuts(critic, x)] == [2, 2]
    assert len(walks) == 3


def modes_inside(critic, x, module="the critic"):
    with CriticCall(critic if module == "the critic" else module, x):
        return len(_get_current_function_mode_stack())


class OwnConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 3, 3, 3, dtype=torch.float64))

    def forward(self, x):
        return F.conv2d(x, self.weight).flatten(1).sum(1)


def test_calls_are_intercepted_only_where_something_is_to_be_replaced(large):
    assert modes_inside(*large) == 1
    assert modes_inside(large[0], points(1, 3, 8, 8)) == 0
    assert modes_inside(OwnConvolution(), points(32, 3, 64, 64)) == 1
    assert modes_inside(mlp(2, 512, 512, 1), points(4096, 2)) == 0
    assert modes_inside(nn.LSTM(2, 2), points(1, 2, 2)) == 0
    on_a_gpu = SimpleNamespace(
        is_cuda=True, is_cpu=False, numel=lambda: 4, dtype=torch.float32, shape=(4,)
    )
    assert modes_inside(nn.LSTM(2, 2), on_a_gpu) == 1
    assert modes_inside(nn.LSTMCell(2, 2), on_a_gpu) == 0
    assert modes_inside(nn.MultiheadAttention(4, 2), points(1, 2, 4)) == 0
    assert modes_inside(torch.sin, points(4, 2), module=None) == 1


@pytest.mark.parametrize("faster", [True, False])
def test_linear_layers_are_looked_at_only_where_onednn_is_faster(monkeypatch, faster):
    monkeypatch.setattr(critic_call, "is_onednn_faster", lambda: faster)
    critic, x = mlp(2, 512, 512, 1).float(), points(256, 2).detach().float().requires_grad_()
    assert modes_inside(critic, x) == faster
    assert modes_inside(critic, x[:255]) == 0
    assert modes_inside(critic.double(), x.double()) == 0
    sequence = torch.randn(16, 8, 2, requires_grad=True)
    assert modes_inside(mlp(2, 512, 512, 1).float(), sequence) == faster


def test_lazy_critic():
    """Its parameters have no size before the first call."""
    critic, x = nn.Sequential(nn.LazyLinear(512), nn.ReLU(), nn.LazyLinear(1)), points(64, 512)
    x = x.detach().float().requires_grad_()
    assert [cuts(critic, x), cuts(critic, x)] == [1, 1]


def test_small_convolutions_in_a_large_critic_stay(large):
    critic, x = large
    with CriticCall(critic, x):
        first = critic[0](x)
        third = critic[2](critic[1](first))
        small = F.conv2d(x[:1], critic[0].weight)
    assert type(third.grad_fn).__name__ == "_ConvolveBackward"
    assert small.grad_fn.name() == "ConvolutionBackward0"


def test_hooks_inside_the_critic_are_called_as_always():
    layers, x = mlp(2, 512, 512, 1), points(64, 2)
    seen = []

    def critic(x):
        hidden = layers[:3](x)
        hidden.register_hook(lambda g: seen.append(g.abs().sum()) or 0.5 * g)
        return layers[3:](hidden)

    leaves = leaves_of(layers, x)
    theirs = by_backward(penalty_of(critic, x), leaves)
    ours = by_backward(penalty_with(critic, x, module=layers), leaves)
    assert_identical(ours, theirs)
    assert seen[:2] == seen[2:]


def test_switches_are_restored_after_an_error():
    with pytest.raises(KeyError), CriticCall(nn.LSTM(2, 2), points(1, 2, 2)):
        raise KeyError
    assert torch.backends.cuda.flash_sdp_enabled()
    assert _get_current_function_mode_stack() == []


def test_attention_works():
    x = points(2, 3, 5, 4)
    critic = lambda x: F.scaled_dot_product_attention(x, x, x)  # noqa: E731
    penalty_with(critic, x, module=None).backward()
    penalty_with(critic, x, module=nn.Identity()).backward()


def test_inside_a_transform():
    critic, x = mlp(2, 512, 512, 1), points(4, 2).detach()

    def gradients(x):
        with CriticCall(critic, x) as call:
            found = torch.func.grad(lambda x: critic(x).sum())(x)
        return call.prune(found)

    per_sample = torch.func.vmap(gradients)(x[:, None])
    assert_exact([per_sample[:, 0]], [gradients(x)])
