"""twice_differentiable_backends: attention and recurrent networks, without a word."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.backends import cuda, cudnn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.second_order.twice import (
    assert_exact,
    assert_identical,
    by_grad,
    leaves_of,
    penalty_of,
    points,
)
from wgan_fast.second_order import twice_differentiable_backends
from wgan_fast.second_order.layers import attention, recurrent


class Last(nn.Module):
    """The score of the last element of a sequence."""

    def __init__(self, layer, features):
        super().__init__()
        self.layer = layer
        self.score = nn.Linear(features, 1)

    def forward(self, x):
        output = self.layer(x)
        return self.score((output[0] if isinstance(output, tuple) else output)[:, -1])


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)


LAYERS = {
    "LSTM": lambda: nn.LSTM(8, 8, 2, batch_first=True, dropout=0.3, bidirectional=True),
    "GRU": lambda: nn.GRU(8, 8, batch_first=True),
    "RNN": lambda: nn.RNN(8, 8, batch_first=True, nonlinearity="relu"),
    "MultiheadAttention": lambda: SelfAttention(8, 2, batch_first=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LAYERS)
def test_simply_works(name, dtype, training):
    layer = LAYERS[name]()
    features = 16 if name == "LSTM" else 8
    critic = Last(layer, features).to(dtype).train(training)
    x = points(3, 5, 8).detach().to(dtype).requires_grad_()
    leaves = leaves_of(critic, x)
    ours = by_grad(penalty_of(critic, x, context=twice_differentiable_backends), leaves)
    theirs = by_grad(penalty_of(critic, x, context=lambda: sdpa_kernel(SDPBackend.MATH)), leaves)
    assert_identical(ours, theirs)


def test_attention_is_exact():
    def attend(x):
        return F.scaled_dot_product_attention(x, x * 2, x.sin(), is_causal=True).flatten(1)

    def written_out(x):
        weights = x @ (x * 2).mT / x.shape[-1] ** 0.5
        weights = weights.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        return (weights.softmax(-1) @ x.sin()).flatten(1)

    x = points(3, 2, 5, 4)
    ours = by_grad(penalty_of(attend, x, context=twice_differentiable_backends), [x])
    assert_exact(ours, by_grad(penalty_of(written_out, x), [x]))
    with pytest.raises(RuntimeError, match="is not implemented"):
        penalty_of(attend, x).backward()


def attention_switches():
    return (
        cuda.math_sdp_enabled(),
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )


def test_switches_of_attention():
    before = attention_switches()
    assert before == (True, True, True, True)
    with twice_differentiable_backends():
        assert attention_switches() == (True, False, False, False)
        with twice_differentiable_backends():
            assert attention_switches() == (True, False, False, False)
        assert attention_switches() == (True, False, False, False)
    assert attention_switches() == before


def test_switches_are_restored_to_what_they_were():
    cuda.enable_flash_sdp(False)
    try:
        with pytest.raises(KeyError), twice_differentiable_backends():
            raise KeyError
        assert attention_switches() == (True, False, True, True)
    finally:
        cuda.enable_flash_sdp(True)


def test_switches_that_pytorch_itself_uses(monkeypatch):
    """On a GPU these decide; here they are only listened to."""
    calls = []
    names = ("math", "flash", "mem_efficient", "cudnn", "overrideable")
    for name, switch in zip(names, attention._ATTENTION, strict=True):
        setter = lambda value, name=name: calls.append((name, value))  # noqa: E731
        monkeypatch.setattr(switch, "_setter", setter)
    with twice_differentiable_backends():
        assert dict(calls) == {
            "math": True,
            "flash": False,
            "mem_efficient": False,
            "cudnn": False,
            "overrideable": False,
        }
        calls.clear()
    assert dict(calls) == dict.fromkeys(
        ["math", "flash", "mem_efficient", "cudnn", "overrideable"], True
    )


def test_threads_may_overlap():
    """The first to leave does not pull the switch from under the second."""
    inside, leave, seen = threading.Event(), threading.Event(), []

    def work():
        with twice_differentiable_backends():
            inside.set()
            leave.wait()
            seen.append(attention_switches())

    thread = threading.Thread(target=work)
    with twice_differentiable_backends():
        thread.start()
        inside.wait()
    assert attention_switches() == (True, False, False, False)
    leave.set()
    thread.join()
    assert seen == [(True, False, False, False)]
    assert attention_switches() == (True, True, True, True)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_are_called_without_cudnn(layer, monkeypatch):
    """And nothing else is: convolutions keep it."""
    states = []
    set_enabled = recurrent._without_cudnn._setter
    monkeypatch.setattr(
        recurrent._without_cudnn,
        "_setter",
        lambda value: (states.append(value), set_enabled(value)),
    )
    assert cudnn.enabled
    net, x = layer(4, 4).double(), points(3, 2, 4)
    with twice_differentiable_backends():
        assert cudnn.enabled
        F.conv1d(x, torch.ones(1, 2, 1, dtype=torch.float64))
        assert states == []
        net(x)
        assert states == [False, True]
        net(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2])))
        assert states == [False, True, False, True]
    assert cudnn.enabled


def test_cudnn_is_restored_after_an_error():
    with pytest.raises(RuntimeError), twice_differentiable_backends():
        nn.LSTM(4, 4)(torch.ones(2, 2, 3))
    assert cudnn.enabled
