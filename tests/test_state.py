"""A critic's state: where scores are compared, it is set back in between; once is once."""

import copy
import random
import warnings

import numpy
import pytest
import torch
from torch import nn

from tests.comparing import assert_same_gradients, gradients_of
from tests.stateful_critics import (
    STATEFUL,
    Attribute,
    BufferInPlace,
    Counting,
    Estimating,
)
from wgan_fast import approximate_r1, fast_gradient_penalty, r1_penalty
from wgan_fast._penalise.snapshot import Snapshot
from wgan_fast._penalise.state import COPIED, State

by_differences = {"double_backward": "finite_difference"}
every_state = pytest.mark.parametrize("kind", STATEFUL)


def seeded(kind):
    torch.manual_seed(5)
    random.seed(5)
    numpy.random.seed(5)
    return kind()


def samples(batch=8):
    return torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(6)).double()


def weights_of(critic):
    return [p for p in critic.parameters() if p.requires_grad]


def scores_after(critic):
    """What the next call returns: all of the state and randomness enters it."""
    return critic(samples()[0]).detach()


@every_state
def test_all_passes_of_finite_differences_begin_alike(kind):
    results = []
    for choice in (by_differences, {}):
        critic = seeded(kind)
        penalty = r1_penalty(critic, samples()[0], **choice)
        grads = torch.autograd.grad(penalty, weights_of(critic), allow_unused=True)
        results.append((grads, scores_after(critic)))
    (ours, ours_after), (exact, exact_after) = results
    assert_same_gradients(ours, exact, rtol=1e-6)
    torch.testing.assert_close(ours_after, exact_after, rtol=1e-12, atol=0)


@every_state
def test_both_passes_of_approximate_r1_begin_alike(kind):
    """With lambda_r1 = 1 / sigma^2 the value is nearly the same for each small sigma."""
    real, generator = samples()[0], torch.Generator()
    values, after = [], []
    for sigma in (1e-4, 1e-5):
        critic = seeded(kind)
        generator.manual_seed(1)
        given = {"sigma": sigma, "lambda_r1": 1 / sigma**2, "generator": generator}
        values.append(approximate_r1(critic, real, **given).item())
        after.append(scores_after(critic))
    assert values[0] == pytest.approx(values[1], rel=1e-2)
    critic = seeded(kind)
    critic(real)
    expected = scores_after(critic)
    for found in after:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_hidden_state_is_refused_and_known_by_module():
    critic = seeded(Attribute)
    real, _ = samples()
    for regulariser, choice in ((r1_penalty, by_differences), (approximate_r1, {})):
        for _ in range(2):  # at every call, not only at the first
            critic.u = torch.ones_like(critic.u)
            with pytest.raises(RuntimeError, match="say module="):
                regulariser(lambda x: critic(x), real, **choice)
        regulariser(lambda x: critic(x), real, module=critic, **choice).backward()


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5, dtype=torch.float64))
        self.register_buffer("u", torch.ones(1, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.u = self.u + 1
        return torch.tanh(x @ self.weight.t()).sum(1) * self.u


def test_a_scripted_buffer_is_set_back():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`?torch\.jit\.script`? is deprecated")
        critic = torch.jit.script(Scripted())
    real, _ = samples()
    r1_penalty(critic, real, **by_differences).backward()
    assert critic.u.item() == 2
    approximate_r1(critic, real).backward()
    assert critic.u.item() == 3


def test_graphs_that_saved_a_buffer_remain_valid():
    critic = seeded(BufferInPlace)
    other = critic.u * critic.weight.sum()
    saved = (critic.weight.sum() * critic.u).sum()
    version = critic.u._version
    snapshot = Snapshot(critic, samples()[0])
    critic.u.data.add_(1)
    snapshot.restore()
    assert critic.u._version == version
    (saved + other.sum()).backward()


def test_only_what_has_changed_is_written():
    """A buffer of memory that must not be written to, as that of a file."""
    critic = nn.Linear(5, 1)
    critic.register_buffer("fixed", torch.ones(4))
    snapshot = Snapshot(critic, samples()[0])
    before = critic.fixed._version, critic.fixed.data_ptr()
    critic.weight.data.add_(1)
    weight = critic.weight.detach().clone()
    snapshot.restore()
    assert (critic.fixed._version, critic.fixed.data_ptr()) == before
    assert torch.equal(critic.weight, weight)  # trainable: no copy was made


def test_large_tensors_are_set_back_by_identity():
    critic = Attribute()
    large = torch.zeros(COPIED + 1)
    critic.large, critic.frozen = large, nn.Parameter(large.clone(), requires_grad=False)
    frozen, place = critic.frozen, critic.frozen.data_ptr()
    state = State(critic)
    critic.large, critic.frozen.data = torch.ones(1), torch.ones(1)
    state.restore()
    assert critic.large is large
    assert critic.frozen is frozen
    assert critic.frozen.data_ptr() == place


def test_hooks_are_left_alone():
    critic = seeded(Attribute)
    state = State(critic)
    handle = critic.register_forward_hook(lambda *_: None)
    state.restore()
    assert list(critic._forward_hooks) == [handle.id]


def test_randomness_may_go_on():
    torch.manual_seed(1)
    snapshot = Snapshot(None, samples()[0])
    first = torch.rand(())
    snapshot.restore(randomness=False)
    assert torch.rand(()) != first
    snapshot.restore()
    assert torch.rand(()) == first


class Building(nn.Module):
    """Its last layer is made when the first samples come, and a flag keeps that in mind."""

    def __init__(self):
        super().__init__()
        self.first, self.built = nn.Linear(5, 8).double(), False

    def forward(self, x):
        h = torch.tanh(self.first(x))
        if not self.built:
            self.last, self.built = nn.Linear(h.shape[1], 1).double(), True
        return self.last(h)


class DataDependent(nn.Module):
    """Activation normalisation: the first batch sets scale and shift."""

    def __init__(self, flag):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8).double(), nn.Linear(8, 1).double()
        self.shift, self.scale = (nn.Parameter(torch.zeros(8).double()) for _ in range(2))
        self.flag = flag
        if flag == "buffer":
            self.register_buffer("known", torch.tensor(False))
        else:
            self.known = torch.tensor(False)

    def forward(self, x):
        h = self.first(x)
        if not self.known:
            self.shift.data.copy_(-h.mean(0))
            self.scale.data.copy_(1 / h.std(0))
            self.known = torch.tensor(True)
        return self.last(torch.tanh((h + self.shift) * self.scale))


def lazy():
    return nn.Sequential(nn.LazyLinear(8), nn.SiLU(), nn.Dropout(0.5), nn.LazyLinear(1)).double()


@pytest.mark.parametrize(
    "build",
    [Building, lambda: DataDependent("buffer"), lambda: DataDependent("attribute"), lazy],
    ids=["layer", "buffer", "attribute", "lazy"],
)
@pytest.mark.parametrize("shared", [{}, {"chunk_size": 3}, {"chunk_size": 3, "reduction": "none"}])
def test_what_the_first_call_builds_remains(build, shared):
    """And the gradient is that of the parameters that the critic has then."""
    real, _ = samples()
    critic = seeded(build)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lazy modules
        penalty = r1_penalty(critic, real, **by_differences, **shared).sum()
    built = copy.deepcopy(critic)
    grads = gradients_of(penalty, critic)
    assert all(g is not None and g.isfinite().all() for g in grads)
    if build is not lazy:  # which draws other units in its exact penalty
        exact = r1_penalty(built, real, reduction=shared.get("reduction", "mean")).sum()
        assert_same_gradients(grads[:-1], gradients_of(exact, built)[:-1], rtol=1e-6)


def test_what_a_later_call_builds_remains():
    critic, (real, _) = seeded(Building), samples()
    r1_penalty(critic, real, **by_differences)
    critic.built = False
    penalty = r1_penalty(critic, real, **by_differences)
    built = copy.deepcopy(critic)
    expected = gradients_of(r1_penalty(built, real), built)
    assert_same_gradients(gradients_of(penalty, critic)[:-1], expected[:-1], rtol=1e-6)


def test_what_shares_memory_is_not_written_to():
    """NaN does not equal itself: it would be written back, if it could."""
    critic = nn.Linear(5, 1)
    critic.register_buffer("unknown", torch.full((1,), torch.nan).expand(4))
    critic.plain = torch.full((1,), torch.nan).expand(4)
    approximate_r1(critic, torch.randn(4, 5)).backward()


def test_the_state_advances_once_in_approximate_r1_and_its_check():
    critic = seeded(Counting)
    approximate_r1(critic, samples()[0])
    assert critic.calls == 1


def test_a_critic_is_called_once_more_at_the_first_approximate_r1_only():
    calls = []
    critic = nn.Linear(5, 1).double()
    critic.register_forward_hook(lambda *_: calls.append(1))
    for expected in (3, 5):
        approximate_r1(critic, samples()[0])
        assert len(calls) == expected


def test_a_state_that_hardly_matters_is_not_refused():
    critic = Estimating()
    drift = iter(range(100))
    real, _ = samples()
    approximate_r1(
        lambda x: critic.weight.sum(1) @ x.new_ones(8) * x.sum(1) + 1e-9 * next(drift), real
    )
    with pytest.raises(RuntimeError, match="when it is called again, but they differ by"):
        approximate_r1(lambda x: critic.weight.sum() * x.sum(1) + 0.5 * next(drift), real)


def test_penalties_without_differences_take_no_snapshot(monkeypatch):
    monkeypatch.setattr(Snapshot, "__init__", None)
    fast_gradient_penalty(seeded(Attribute), *samples()).backward()
