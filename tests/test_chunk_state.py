"""chunk_size with critics that change themselves or are distributed, and weights with hooks."""

import functools
import threading

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.comparing import assert_close, assert_same_gradients
from tests.critics import mlp
from tests.stateful_critics import STATEFUL, Attribute, BufferInPlace, Counting, Drawing
from tests.test_several_tensors import FAKE, REAL, Graphs
from tests.test_state import samples, scores_after, seeded, weights_of
from wgan_fast import fast_gradient_penalty, max_gradient_penalty, r1_penalty

#: Drawing goes on from slice to slice; what a data exchange wrote is no state of a whole batch.
KINDS = [kind for kind in STATEFUL if kind is not Drawing]
REDUCTIONS = ["mean", "sum", "none", "max"]
every_state = pytest.mark.parametrize("kind", KINDS)


@every_state
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_slices_begin_alike_and_the_state_advances_once(kind, reduction):
    real, fake = samples()
    epsilon = torch.linspace(0, 1, 8, dtype=torch.float64)
    results = []
    for chunk_size in (None, 3):
        critic = seeded(kind)
        critic(real)  # so that the state is not the first
        penalty = fast_gradient_penalty(
            critic, real, fake, epsilon=epsilon, chunk_size=chunk_size, reduction=reduction
        )
        after = scores_after(critic)
        grads = torch.autograd.grad(penalty.sum(), weights_of(critic), allow_unused=True)
        results.append((penalty.detach(), after, scores_after(critic), grads))
    whole, sliced = results
    for a, b in zip(sliced[:3], whole[:3], strict=True):
        assert_close(a, b)
    assert_same_gradients(sliced[3], whole[3])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_under_no_grad(reduction):
    values = []
    for chunk_size in (None, 3):
        critic = seeded(Counting)
        with torch.no_grad():
            values.append(
                r1_penalty(critic, samples()[0], chunk_size=chunk_size, reduction=reduction)
            )
        assert critic.calls == 1
    assert_close(*values)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_other_units_are_dropped_in_every_slice(reduction):
    """Of two equal slices with a dropout of half of many units, no two penalties agree."""
    critic = nn.Sequential(nn.Linear(5, 256), nn.Dropout(0.5), nn.Tanh(), nn.Linear(256, 1))
    real = torch.randn(2, 5).repeat(2, 1)
    _, norms = r1_penalty(critic, real, chunk_size=2, reduction=reduction, return_norms=True)
    assert (norms[:2] != norms[2:]).all()


def test_what_is_computed_again_draws_the_same_from_everywhere():
    """Also from Python, NumPy and the critic's own generators; and is not noticed afterwards."""
    grads, after = [], []
    for calls in (0, 3):
        critic = seeded(Drawing)
        penalty = r1_penalty(critic, samples()[0], chunk_size=3, reduction="none")
        for _ in range(calls):
            critic(samples()[0])
        expected_next = None if calls else scores_after(critic)
        grads.append(torch.autograd.grad(penalty.sum(), [critic.weight]))
        after.append(expected_next)
    assert_same_gradients(*grads)
    critic = seeded(Drawing)
    penalty = r1_penalty(critic, samples()[0], chunk_size=3, reduction="none")
    penalty.sum().backward()
    assert_close(scores_after(critic), after[0])


@pytest.mark.parametrize("kind", [Attribute, BufferInPlace])
def test_the_backward_pass_begins_from_the_state_of_the_forward_pass(kind):
    """However often the critic is called in between; graphs of those calls see nothing of it."""
    grads = []
    for between in (0, 2):
        critic = seeded(kind)
        penalty = r1_penalty(critic, samples()[0], chunk_size=3, reduction="none")
        for _ in range(between):
            critic(samples()[0])
        place = critic.u.data_ptr()
        u = critic.u.clone()
        grads.append(torch.autograd.grad(penalty.sum(), [critic.weight]))
        assert torch.equal(critic.u, u)
        assert critic.u.data_ptr() == place
    assert_same_gradients(*grads)


class WithoutClone(BufferInPlace):
    """Its graph saves a view of the buffer."""

    def forward(self, x):
        with torch.no_grad():
            self.u.data.copy_(torch.tanh(self.weight @ (self.weight.t() @ self.u)))
        return torch.tanh(x @ self.weight.t()) @ (self.u[:] * self.weight.square().sum(1))


def test_what_is_computed_again_saves_its_own_buffers():
    """The critic is called in between: the buffer holds another value in the backward pass."""
    grads = []
    for between in (0, 2):
        critic = seeded(WithoutClone)
        penalty = r1_penalty(critic, samples()[0], chunk_size=3, reduction="none")
        for _ in range(between):
            critic(samples()[0])
        grads.append(torch.autograd.grad(penalty.sum(), [critic.weight]))
    assert_same_gradients(*grads)


def hooked(critic, seen):
    for name, parameter in critic.named_parameters():
        parameter.register_hook(
            functools.partial(lambda name, grad: seen.append((name, grad)), name)
        )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("choice", ["pruned", "finite_difference"])
def test_hooks_see_the_whole_gradient_once(reduction, choice):
    critic = seeded(lambda: mlp(nn.Tanh).double())
    real, _ = samples()
    given = {"reduction": reduction, "double_backward": choice}
    expected = torch.autograd.grad(
        r1_penalty(critic, real, **given), list(critic.parameters()), allow_unused=True
    )
    seen = []
    hooked(critic, seen)
    penalty = r1_penalty(critic, real, chunk_size=3, **given)
    assert not seen
    penalty.backward()
    names = [name for name, _ in critic.named_parameters()]
    assert sorted(name for name, _ in seen) == sorted(
        name for name, grad in zip(names, expected, strict=True) if grad is not None
    )
    for name, grad in seen:
        assert_close(grad, expected[names.index(name)], rtol=1e-8)


def test_a_hook_that_only_a_later_slice_meets():
    first, last = (torch.ones(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    seen = []
    last.register_hook(seen.append)
    drawn = []

    def critic(x, marks):
        drawn.append(torch.rand(()).item())
        return (x**3 * (first if marks[0] == 0 else last)).sum(1) + 0 * drawn[-1]

    marks = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
    torch.manual_seed(7)
    r1_penalty(critic, samples()[0], critic_args=(marks,), chunk_size=3).backward()
    (grad,) = seen
    assert torch.equal(grad, last.grad)
    torch.manual_seed(7)
    assert drawn[0] == drawn[2] == torch.rand(()).item()  # begun anew


def test_backward_passes_of_other_threads_keep_their_hooks():
    critic = mlp(nn.Tanh).double()
    real, _ = samples()
    weight, seen = critic[0].weight, []
    inside, done = threading.Event(), threading.Event()
    weight.register_hook(lambda grad: seen.append(threading.get_ident()))

    class Waits(torch.autograd.Function):
        """Its backward pass lasts until another thread has had its own."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            inside.set()
            done.wait(20)
            return grad

    def other():
        inside.wait(20)
        (3 * weight).sum().backward()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    r1_penalty(lambda x: critic(Waits.apply(x)), real, chunk_size=3).backward()
    thread.join()
    assert seen.count(thread.ident) == 1
    assert seen.count(threading.get_ident()) == 1


@pytest.fixture
def _one_process(tmp_path):
    dist.init_process_group(
        "gloo", rank=0, world_size=1, store=dist.FileStore(str(tmp_path / "store"), 1)
    )
    yield
    dist.destroy_process_group()


DISTRIBUTED = {
    "mean": lambda critic: fast_gradient_penalty(critic, *samples(), chunk_size=3),
    "none": lambda critic: fast_gradient_penalty(
        critic, *samples(), chunk_size=3, reduction="none"
    ).mean(),
    "max": lambda critic: max_gradient_penalty(critic, *samples(), chunk_size=3),
    "partial": lambda critic: max_gradient_penalty(
        functools.partial(critic), *samples(), chunk_size=3
    ),
    "method": lambda critic: max_gradient_penalty(critic.forward, *samples(), chunk_size=3),
}


@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize("find_unused", [False, True])
@pytest.mark.parametrize("first", ["penalty", "scores"])
@pytest.mark.parametrize("penalty_of", DISTRIBUTED.values(), ids=DISTRIBUTED)
def test_distributed_critics(penalty_of, first, find_unused):
    """Three steps give the gradients of the critic alone."""
    real, fake = samples()
    steps = []
    for wrap in (
        lambda net: net,
        lambda net: DistributedDataParallel(net, find_unused_parameters=find_unused),
    ):
        net = seeded(lambda: mlp(nn.Tanh).double())
        critic = wrap(net)
        for _ in range(3):
            torch.manual_seed(8)
            if first == "penalty":
                penalty = penalty_of(critic)
            scores = critic(fake).mean() - critic(real).mean()
            if first == "scores":
                penalty = penalty_of(critic)
            (scores + penalty).backward()
        steps.append([p.grad for p in net.parameters()])
    assert_same_gradients(steps[1], steps[0])


class Shifted(Graphs):
    """Of the bias, the penalty knows nothing: it has its gradient first."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, molecule):
        return super().forward(molecule) + self.bias


@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_distributed_critics_of_several_tensors(reduction):
    """They are found behind what takes the tensors apart, too."""
    steps = []
    for wrap in (lambda net: net, DistributedDataParallel):
        net = seeded(lambda: Shifted().double())
        critic = wrap(net)
        for _ in range(3):
            penalty = r1_penalty(critic, REAL, chunk_size=2, reduction=reduction).mean()
            scores = critic(FAKE).mean() - critic(REAL).mean()
            (scores + penalty).backward()
        steps.append([p.grad for p in net.parameters()])
    assert_same_gradients(steps[1], steps[0])
