"""efficient_double_backward: the tools together, each where it pays."""

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
from wgan_fast._per_critic import memory_of
from wgan_fast.second_order import (
    _profile,
    context,
    without_thresholds,
)
from wgan_fast.second_order._profile import profile_of
from wgan_fast.second_order.context import EfficientDoubleBackward
from wgan_fast.second_order.layers import ACTIVATION
from wgan_fast.second_order.layers.activations import SPARED


def calling(critic, x, module="the critic"):
    module = critic if module == "the critic" else module
    module = module if isinstance(module, nn.Module) else None
    return EfficientDoubleBackward(profile_of(critic, module, memory_of(critic, module)), x)


def penalty_with(critic, x, module="the critic"):
    with calling(critic, x, module) as call:
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
    with without_thresholds():
        assert cuts(small, points(64, 2)) == 1


def test_critics_with_nothing_to_cut_are_not_searched_every_time(monkeypatch):
    critic, x = mlp(2, 512, 512, 1, activation=nn.Tanh), points(64, 2)
    walks = []
    find = context.find_cuts
    monkeypatch.setattr(context, "find_cuts", lambda g: walks.append(1) or find(g))
    for _ in range(1 + _profile.PATIENCE):
        penalty_with(critic, x)
    assert len(walks) == 1
    critic[1] = critic[3] = nn.ReLU()
    assert [cuts(critic, x), cuts(critic, x)] == [2, 2]
    assert len(walks) == 3


def modes_inside(critic, x, module="the critic"):
    with calling(critic, x, module):
        return len(_get_current_function_mode_stack())


def modes_at_the_second_call(critic, x, module="the critic"):
    with calling(critic, x, module):
        assert len(_get_current_function_mode_stack()) == 1
        critic(x)
    return modes_inside(critic, x, module)


class OwnConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 3, 3, 3, dtype=torch.float64))

    def forward(self, x):
        return F.conv2d(x, self.weight).flatten(1).sum(1)


def test_calls_are_intercepted_only_where_something_is_to_be_replaced(large):
    """What that is, is learned from the first call."""
    assert modes_at_the_second_call(*large) == 1
    assert modes_inside(large[0], points(1, 3, 32, 32)) == 0
    assert modes_at_the_second_call(OwnConvolution(), points(32, 3, 64, 64)) == 1
    assert modes_at_the_second_call(mlp(2, 512, 512, 1), points(64, 2)) == 0
    attention = lambda x: F.scaled_dot_product_attention(x, x, x)  # noqa: E731
    assert modes_at_the_second_call(attention, points(2, 3, 5, 4)) == 1
    assert modes_at_the_second_call(lambda x: x.sin(), points(4, 2)) == 0
    assert modes_at_the_second_call(torch.sin, points(4, 2)) == 1  # cannot be remembered
    lstm = nn.LSTM(2, 2).double()
    assert modes_at_the_second_call(lstm, points(1, 2, 2)) == 0
    on_a_gpu = SimpleNamespace(is_cuda=True, is_cpu=False, numel=lambda: 4)
    assert modes_inside(lstm, on_a_gpu) == 1


def test_each_layer_is_weighed_in_its_own_unit():
    """An activation of enough elements is worth a look, however small the products are."""
    batch = -(-ACTIVATION.least_work // (256 * SPARED["silu"]))
    critic = mlp(4, 256, 1, activation=nn.SiLU)
    assert modes_at_the_second_call(critic, points(batch, 4)) == 1
    assert modes_inside(critic, points(batch - 1, 4)) == 0
    with without_thresholds():
        assert modes_inside(critic, points(1, 4)) == 1
    assert modes_at_the_second_call(mlp(4, 256, 1), points(batch, 4)) == 0


def test_large_convolutions_beside_a_recurrent_network(large):
    """Are replaced on the CPU, too, where the recurrent network itself is not."""
    convolutions, x = large
    lstm = nn.LSTM(2, 2).double()

    def critic(x):
        return convolutions(x) + lstm(x[:, 0, :, :2])[0].sum()

    assert modes_at_the_second_call(critic, x, module=convolutions) == 1


def test_lazy_critic():
    """Its parameters have no size before the first call."""
    critic, x = nn.Sequential(nn.LazyLinear(512), nn.ReLU(), nn.LazyLinear(1)), points(64, 512)
    x = x.detach().float().requires_grad_()
    assert [cuts(critic, x), cuts(critic, x)] == [1, 1]


def test_small_convolutions_in_a_large_critic_stay(large):
    critic, x = large
    with calling(critic, x):
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
    with pytest.raises(KeyError), calling(nn.LSTM(2, 2), points(1, 2, 2)):
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
        with calling(critic, x) as call:
            found = torch.func.grad(lambda x: critic(x).sum())(x)
        return call.prune(found)

    per_sample = torch.func.vmap(gradients)(x[:, None])
    assert_exact([per_sample[:, 0]], [gradients(x)])


def test_lambdas_written_on_one_line_are_remembered_by_their_modules():
    """A checkpointed attention needs its layers again, whatever another critic had."""

    def penalty(net, x):
        return penalty_with(lambda x: net(x), x, module=None)

    penalty(mlp(4, 8, 1), points(2, 4)).backward()
    assert modes_of(lambda net: lambda x: net(x), mlp(4, 8, 1)) == [1, 0]
    assert modes_of(lambda net: lambda x: net(x), mlp(4, 8, 1)) == [1, 0]


def modes_of(wrap, net):
    """Whether calls are intercepted, at the first call of a critic and at the second."""
    modes = []
    for _ in range(2):
        critic = wrap(net)
        with calling(critic, points(2, 4), module=None):
            modes.append(len(_get_current_function_mode_stack()))
            critic(points(2, 4))
    return modes
