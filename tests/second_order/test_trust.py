"""The table of zero gradients is checked where it is used, the first time that it is."""

import warnings

import pytest
import torch
from torch import nn

from tests.second_order.twice import assert_identical, by_backward, leaves_of, penalty_of, points
from wgan_fast.second_order import _walk, prune, prune_zero_paths


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(prune, "_trusted", set())
    before = dict(_walk.ZERO)
    prune._hook.cache_clear()
    yield
    _walk.ZERO.update(before)
    prune._hook.cache_clear()


def critic(activation):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), activation(), nn.Linear(8, 1)).double()


def grads(net, x, prune=prune_zero_paths):
    return by_backward(penalty_of(net, x, prune), leaves_of(net, x))


def stale(monkeypatch, name, indices):
    """An entry that is wrong, as after a renaming of PyTorch's functions."""
    kind = getattr(torch._C._functions, name)
    monkeypatch.setitem(_walk.ZERO, kind, indices)
    monkeypatch.setattr(_walk, "_special", _walk._special | {kind})
    return kind


@pytest.mark.parametrize(
    ("activation", "name", "indices"),
    [
        (nn.Tanh, "TanhBackwardBackward0", (1,)),
        (nn.Softplus, "SoftplusBackwardBackward0", (1,)),
        (nn.ReLU, "ThresholdBackwardBackward0", (0, 1)),
        (nn.GELU, "GeluBackwardBackward0", (1,)),
    ],
)
def test_a_wrong_entry_is_noticed_and_forgotten(monkeypatch, activation, name, indices):
    kind = stale(monkeypatch, name, indices)
    net, x = critic(activation), points(4, 3)
    theirs = grads(net, x, lambda gradients: gradients)
    with pytest.warns(RuntimeWarning, match=f"gradients behind {name} that wgan_fast takes for"):
        assert_identical(grads(net, x), theirs)
    assert kind not in _walk.ZERO
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_identical(grads(net, x), theirs)


def test_a_right_entry_is_looked_at_once():
    looked = []
    net, x = critic(nn.ReLU), points(4, 3)
    has_values = prune._has_values
    try:
        prune._has_values = lambda grad: looked.append(1) or has_values(grad)
        grads(net, x)
        after_the_first = len(looked)
        grads(net, x)
    finally:
        prune._has_values = has_values
    assert after_the_first > 0
    assert len(looked) == after_the_first


def test_zeros_of_zeros_prove_nothing(monkeypatch):
    """A gradient of zero comes first: whatever the function does, it makes zeros of it."""
    kind = stale(monkeypatch, "TanhBackwardBackward0", (1,))
    net, x = critic(nn.Tanh), points(4, 3)
    (gradients,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    (0 * prune_zero_paths(gradients)).sum().backward()
    assert kind not in prune._trusted
    with pytest.warns(RuntimeWarning, match="TanhBackwardBackward0"):
        grads(net, x)
