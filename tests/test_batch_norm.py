"""Batch normalisation that a critic calls in training mode is warned of, once, and no other."""

import functools
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn

from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise import batch_norm
from wgan_fast.second_order import without_thresholds
from wgan_fast.second_order._graph import nodes_of


def samples(batch=4):
    return torch.randn(2, batch, 3)


def with_batch_norm():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


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


def test_frozen_batch_norm_says_nothing_until_it_trains():
    net = with_batch_norm()
    net[1].eval()
    for _ in range(2):
        fast_gradient_penalty(net, *samples())
    net[1].train()
    with pytest.warns(UserWarning, match="BatchNorm1d"):
        fast_gradient_penalty(net, *samples())


class Gan(nn.Module):
    """Everything in one module, as frameworks want it."""

    def __init__(self):
        super().__init__()
        self.generator = with_batch_norm()
        self.discriminator = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
        self.normalised = with_batch_norm()
        self.spare = nn.BatchNorm1d(3)

    def score(self, x):
        return self.discriminator(x)

    def other_score(self, x):
        return self.normalised(x)


@pytest.mark.parametrize("choice", [{}, {"chunk_size": 2}, {"double_backward": "plain"},
                                    {"double_backward": "finite_difference"}], ids=str)  # fmt: skip
def test_layers_that_the_critic_does_not_call_say_nothing(choice):
    gan = Gan()
    fast_gradient_penalty(gan.score, *samples(), **choice)  # warnings are errors here
    with pytest.warns(UserWarning, match=r"training mode: normalised\.1 \(BatchNorm1d\)\. It"):
        fast_gradient_penalty(gan.other_score, *samples(), **choice)
    fast_gradient_penalty(gan.other_score, *samples(), **choice)
    fast_gradient_penalty(gan.score, *samples(), **choice)


def test_a_function_is_looked_through_by_its_module():
    gan = Gan()
    fast_gradient_penalty(lambda x: gan.normalised(x), *samples())  # nobody can know
    fast_gradient_penalty(lambda x: gan.score(x), *samples(), module=gan)
    for wanted in (True, False):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fast_gradient_penalty(lambda x: gan.other_score(x), *samples(), module=gan)
        assert len(caught) == wanted


def test_it_is_looked_for_at_the_first_call_alone(monkeypatch):
    net, looks = with_batch_norm(), []
    watch = batch_norm._Watch
    monkeypatch.setattr(batch_norm, "_Watch", lambda *args: looks.append(1) or watch(*args))
    with pytest.warns(UserWarning, match="BatchNorm1d"):
        fast_gradient_penalty(net, *samples())
    for choice in ({}, {"chunk_size": 2, "reduction": "none"}):
        fast_gradient_penalty(net, *samples(), **choice).sum().backward()
    with torch.no_grad():
        fast_gradient_penalty(net.eval(), *samples())
    assert len(looks) == 1


@pytest.mark.parametrize("fails", [True, False])
def test_hooks_are_there_for_one_call(fails):
    net = with_batch_norm()

    def score(x):
        assert net[1]._forward_pre_hooks
        scores = net(x)
        if fails:
            raise KeyError("mine")
        return scores

    with pytest.raises(KeyError) if fails else pytest.warns(UserWarning, match="BatchNorm1d"):
        fast_gradient_penalty(score, *samples(), module=net)
    assert not net[1]._forward_pre_hooks
    if fails:  # it was not looked through
        with pytest.warns(UserWarning, match="BatchNorm1d"):
            fast_gradient_penalty(net, *samples())


def test_hooks_do_not_keep_the_graph_from_being_cut():
    """A critic's own hooks would: those that look for batch normalisation are none of them."""
    spared = []
    for norm in (nn.BatchNorm1d, nn.Identity):
        net = nn.Sequential(nn.Linear(3, 4), norm(4), nn.ReLU(), nn.Linear(4, 1)).train()
        with without_thresholds(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            penalty = fast_gradient_penalty(net, *samples())
        cut = [node for node in nodes_of(penalty) if "wgan_fast.zero_paths_cut" in node.metadata]
        spared.append(len(cut))
    assert spared == [1, 1]


def test_the_layers_of_a_compiled_critic_count_as_called():
    torch._dynamo.reset()
    net = with_batch_norm()
    graphs = []
    compiled = torch.compile(net, backend=lambda module, _: graphs.append(1) or module)
    compiled(torch.randn(4, 3, requires_grad=True))
    with pytest.warns(UserWarning, match=r"training mode: 1 \(BatchNorm1d\)\. It") as record:
        fast_gradient_penalty(compiled, *samples(), double_backward="plain")
    assert len(record) == 1
    assert len(graphs) == 1  # a hook would be compiled along
    assert not net[1]._forward_pre_hooks
    holder = nn.Sequential(torch.compile(with_batch_norm(), backend="eager"), nn.Identity())
    with pytest.warns(UserWarning, match=r"training mode: 0\.1 \(BatchNorm1d\)\. It"):
        fast_gradient_penalty(holder, *samples())


class InReplicas(nn.Module):
    """It calls replicas of its layer, as nn.DataParallel does, which takes several GPUs."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, x):
        replica = self.norm._replicate_for_data_parallel()
        for name, parameter in self.norm.named_parameters():
            setattr(replica, name, parameter)
        return self.last(replica(x))


def test_replicas_of_a_layer_are_that_layer():
    with pytest.warns(UserWarning, match=r"training mode: norm \(BatchNorm1d\)\. It"):
        fast_gradient_penalty(InReplicas(), *samples())


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
