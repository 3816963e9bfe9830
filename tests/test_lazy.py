"""Lazy regularisation: a penalty at every k-th call, and in between a zero that stands for it."""

import copy
import functools
import pickle

import pytest
import torch
from torch import nn

from wgan_fast import Lazy, consistency_term, fast_gradient_penalty, r1_penalty


def test_takes_every_kth_step_times_k():
    critic, real = nn.Linear(3, 1), torch.randn(4, 3)
    lazily = Lazy(every=4)
    values = [lazily(r1_penalty, critic, real, gamma=2.0) for _ in range(9)]
    full = r1_penalty(critic, real, gamma=2.0)
    assert [value.item() for value in values] == [
        4 * full.item() if step % 4 == 0 else 0.0 for step in range(9)
    ]
    assert values[0].requires_grad
    assert lazily.step == 9


def test_calls_the_critic_at_its_turn_only():
    calls = []
    critic = nn.Linear(3, 1)
    critic.register_forward_hook(lambda *_: calls.append(1))
    real, fake = torch.randn(2, 4, 3)
    lazily = Lazy(every=3)
    for _ in range(6):
        lazily(fast_gradient_penalty, critic, real, fake)
    assert len(calls) == 2


@pytest.mark.parametrize("double_backward", ["pruned", "finite_difference"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "max", "none"])
@pytest.mark.parametrize("resumed", [0, 1])
def test_the_zero_stands_for_the_penalty(dtype, reduction, double_backward, resumed):
    """Dtype, device, shape, graph; also where no penalty was computed before."""
    critic = nn.Linear(3, 1).to(dtype)
    lazily = Lazy(every=3)
    lazily.step = resumed
    real = torch.randn(4, 3, dtype=dtype)
    given = {"reduction": reduction, "double_backward": double_backward}
    expected = r1_penalty(critic, real, **given)
    if not resumed:
        lazily(r1_penalty, critic, real, **given)
    zero = lazily(r1_penalty, critic, real, **given)
    assert not zero.any()
    assert zero.shape == expected.shape
    assert zero.dtype == expected.dtype
    assert zero.device == expected.device
    assert zero.requires_grad == expected.requires_grad
    assert zero.is_leaf == expected.is_leaf
    critic.weight.grad = torch.ones_like(critic.weight)
    zero.sum().backward()
    assert critic.weight.grad.eq(1).all()
    assert critic.bias.grad is None
    zero = lazily(r1_penalty, critic, real, **given)
    (2 * zero.sum() + critic(real).sum()).backward()
    zero += 1  # a penalty can be changed in place, too


def test_the_zero_can_be_differentiated_twice():
    lazily, weight = Lazy(every=2), torch.ones(3, requires_grad=True)
    lazily.step = 1
    loss = lazily(r1_penalty, nn.Linear(3, 1), torch.randn(4, 3)) + weight.square().sum()
    (first,) = torch.autograd.grad(loss, weight, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), weight)
    assert second.eq(2).all()


def test_without_grad_the_zero_has_no_graph():
    critic, real, lazily = nn.Linear(3, 1), torch.randn(4, 3), Lazy(every=2)
    with torch.no_grad():
        assert not any(lazily(r1_penalty, critic, real).requires_grad for _ in range(4))


@pytest.mark.parametrize("subset", [None, 0.25, 0.01])
@pytest.mark.parametrize("hidden", [True, False])
def test_the_zero_has_the_size_of_its_batch(subset, hidden):
    """The last batch of an epoch is smaller."""
    critic, lazily = nn.Linear(3, 1), Lazy(every=2)
    each = functools.partial(r1_penalty, reduction="none", subset=subset)
    penalty = (lambda *args: each(*args)) if hidden else each
    for batch in (64, 64, 64, 32, 64, 7):
        real = torch.randn(batch, 3)
        assert lazily(penalty, critic, real).shape == each(critic, real).shape


def test_the_zero_of_other_calls():
    """Samples by name, given to a partial, or none at all."""
    real, fake = torch.randn(2, 4, 3, dtype=torch.float64)
    critic = nn.Linear(3, 1).double()
    epsilon = torch.rand(4)
    for args, named in [
        (
            (fast_gradient_penalty,),
            {"critic": critic, "epsilon": epsilon, "real": real, "fake": fake},
        ),
        ((functools.partial(fast_gradient_penalty, critic, real, fake),), {}),
        ((consistency_term, critic, real), {}),
    ]:
        lazily = Lazy(every=2)
        lazily.step = 1
        assert lazily(*args, **named).dtype == torch.float64
    lazily = Lazy(every=2)
    values = [lazily(lambda: r1_penalty(critic, real, reduction="none")) for _ in range(2)]
    assert (values[1].dtype, values[1].shape) == (torch.float64, (4,))
    lazily = Lazy(every=2)
    lazily.step = 1
    assert (lazily(lambda: None).dtype, lazily.step) == (torch.float32, 2)


def test_state_dict():
    critic, real = nn.Linear(3, 1), torch.randn(4, 3)
    lazily = Lazy(every=4)
    for _ in range(6):
        lazily(r1_penalty, critic, real)
    state = lazily.state_dict()
    assert state == {"step": 6, "every": 4}
    resumed = Lazy()
    resumed.load_state_dict(state)
    for other in (resumed, copy.deepcopy(lazily), pickle.loads(pickle.dumps(lazily))):
        values = [other(r1_penalty, critic, real) != 0 for _ in range(4)]
        assert values == [False, False, True, False]
        assert other.every == 4
    assert lazily.step == 6


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (None, TypeError, r"state must be what state_dict\(\) returned, but it is None"),
        ([("step", 1)], TypeError, r"state must be what state_dict\(\) returned"),
        ({"step": 1}, ValueError, r"state must hold 'step' and 'every', .* \['step'\]"),
        ({"step": 1, "every": 2, "k": 3}, ValueError, "state must hold 'step' and 'every'"),
        ({"step": 1.0, "every": 2}, TypeError, r"step must be an integer, but it is 1\.0"),
        ({"step": -1, "every": 2}, ValueError, "step must be at least 0, but it is -1"),
        ({"step": 1, "every": 0}, ValueError, "every must be at least 1, but it is 0"),
        ({"step": 1, "every": True}, TypeError, "every must be an integer, but it is True"),
    ],
)
def test_a_bad_state_changes_nothing(state, error, message):
    lazily = Lazy(every=3)
    lazily.step = 5
    with pytest.raises(error, match=message):
        lazily.load_state_dict(state)
    assert lazily.state_dict() == {"step": 5, "every": 3}


def test_can_be_resumed_by_hand():
    critic, real = nn.Linear(3, 1), torch.randn(4, 3)
    resumed = Lazy(every=4)
    resumed.step = 3
    assert resumed(r1_penalty, critic, real) == 0
    assert resumed(r1_penalty, critic, real) > 0


def test_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"every must be an integer, but it is 2\.5"):
        Lazy(2.5)
    with pytest.raises(ValueError, match="every must be at least 1, but it is 0"):
        Lazy(0)
    with pytest.raises(TypeError, match="penalty must return one tensor, but it returned a tuple"):
        Lazy()(r1_penalty, nn.Linear(3, 1), torch.randn(4, 3), return_norms=True)


def test_a_call_that_fails_takes_no_turn():
    critic, real, lazily = nn.Linear(3, 1), torch.randn(4, 3), Lazy(every=2)
    for wrong in (real[:, :2], real.int()):
        with pytest.raises((RuntimeError, TypeError)):
            lazily(r1_penalty, critic, wrong)
        assert lazily.step == 0
    with pytest.raises(TypeError, match="one tensor"):
        lazily(r1_penalty, critic, real, return_norms=True)
    assert [lazily(r1_penalty, critic, real).item() > 0 for _ in range(3)] == [True, False, True]
