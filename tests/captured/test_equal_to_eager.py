"""A replayed graph gives what the function gives, to the last bit, and changes what it changes."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.captured import training
from tests.captured.training import CRITICS, LOSSES, assert_equal, both, replayed, samples
from wgan_fast import captured, critic_loss
from wgan_fast.second_order import _adding_functions, without_thresholds


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*batch normalisation.*")
        warnings.filterwarnings("ignore", ".*spectral_norm.*is deprecated.*")
        yield


PAIRS = [(critic, loss) for critic in CRITICS for loss in LOSSES]
PAIRS.remove(("attention", "textbook"))  # PyTorch has no double backward of fused attention


@pytest.mark.parametrize(("critic", "loss"), PAIRS)
def test_training_is_the_same(critic, loss):
    ours, theirs, captured_loss = both(CRITICS[critic][0], LOSSES[loss], CRITICS[critic][1])
    assert_equal(ours, theirs)
    (graph,) = captured_loss.report().graphs
    assert graph.executor == "replay"
    assert graph.runs == 3


@pytest.mark.parametrize("critic", ["mlp", "conv", "lstm", "batch_norm"])
def test_training_in_float32_is_the_same(critic):
    make, shape = CRITICS[critic]
    ours, theirs, _ = both(make, training.gradient_penalty, shape, torch.float32)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("critic", ["mlp", "conv"])
def test_training_under_autocast_is_the_same(critic, cache):
    def under_autocast(critic):
        loss = training.gradient_penalty(critic)

        def cast(real, fake):
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
                return loss(real, fake)

        return cast

    make, shape = CRITICS[critic]
    ours, theirs, _ = both(make, under_autocast, shape, torch.float32)
    assert_equal(ours, theirs)


def test_training_with_the_call_under_autocast_is_the_same():
    def capture(loss):
        captured_loss = replayed(loss)

        def cast(real, fake):
            with torch.autocast("cpu", torch.bfloat16):
                return captured_loss(real, fake)

        return cast

    def eager(loss):
        def cast(real, fake):
            with torch.autocast("cpu", torch.bfloat16):
                return loss(real, fake)

        return cast

    make, shape = CRITICS["mlp"]
    ours, _, _ = both(make, training.gradient_penalty, shape, torch.float32, capture)
    theirs, _, _ = both(make, training.gradient_penalty, shape, torch.float32, eager)
    assert_equal(ours, theirs)


def test_a_part_without_autocast_is_in_full_precision_under_it():
    weight = torch.randn(64, 64, requires_grad=True)

    def loss(x):
        with torch.autocast("cpu", enabled=False):
            return (x @ weight).square().sum()

    results = []
    for fn in (replayed(loss), loss):
        for step in range(3):
            weight.grad = None
            with torch.autocast("cpu", torch.bfloat16):
                value = fn(torch.full((4, 64), 0.1 * (step + 1)))
            value.backward()
        results.append([value.detach(), weight.grad])
    assert_equal(*results)


def test_draws_are_new_at_every_call_and_those_of_the_seed():
    critic = training.mlp(nn.Dropout(0.5)).double()
    real, fake = samples((8, 5))
    loss = replayed(training.gradient_penalty(critic))
    torch.manual_seed(1)
    ours = [loss(real, fake).item() for _ in range(5)]
    torch.manual_seed(1)
    theirs = [loss.eager(real, fake).item() for _ in range(5)]
    assert ours == theirs
    assert len(set(ours)) == 5


def test_a_generator_that_is_given_goes_on():
    generator = torch.Generator().manual_seed(5)
    x = torch.zeros(4)
    loss = replayed(lambda x: (x + torch.rand(4, generator=generator)).sum())
    ours = [loss(x).item() for _ in range(4)]
    generator.manual_seed(5)
    assert ours == [loss.eager(x).item() for _ in range(4)]


def test_a_draw_that_nobody_reads_is_drawn():
    @replayed
    def loss(x):
        torch.rand(3)
        return x.sum()

    x = torch.ones(2)
    loss(x)
    torch.manual_seed(2)
    loss(x)
    ours = torch.rand(1)
    torch.manual_seed(2)
    loss.eager(x)
    assert torch.equal(ours, torch.rand(1))


def test_values_to_log_are_returned_in_their_structure():
    weight = torch.tensor(2.0, requires_grad=True)

    @replayed
    def loss(x, *, scale):
        value = scale * weight * x.sum()
        return value, {"mean": x.mean(), "name": "x", "parts": [value.detach(), None]}

    for number in (1.0, 2.0, 3.0):
        value, logged = loss(torch.full((2,), number), scale=3)
        weight.grad = None
        value.backward()
        assert weight.grad == 6 * number
        assert logged == {"mean": number, "name": "x", "parts": [12 * number, None]}
        assert not logged["parts"][0].requires_grad


def test_nested_arguments():
    weight = torch.tensor(2.0, requires_grad=True)
    loss = replayed(lambda pair, *, named: weight * (pair[0] @ pair[1] + named["x"].sum()))
    for number in range(1, 4):
        pair, named = (torch.full((2,), float(number)), torch.ones(2)), {"x": torch.ones(3)}
        assert loss(pair, named=named) == 2 * (2 * number + 3)
    assert len(loss.report().graphs) == 1


def test_under_no_grad_there_is_a_graph_of_the_value():
    critic = training.mlp().double()
    loss = replayed(training.gradient_penalty(critic))
    real, fake = samples((8, 5))
    with torch.no_grad():
        values = []
        for fn in (loss, loss, loss.eager, loss.eager):
            torch.manual_seed(1)
            values.append(fn(real, fake))
    assert len(set(map(float, values))) == 1
    assert not values[1].requires_grad
    assert loss(real, fake).requires_grad
    assert len(loss.report().graphs) == 2


def test_a_loss_of_parameters_that_are_read_where_they_lie():
    """An optimiser's step, load_state_dict and an average in place count."""
    net = nn.Linear(3, 1)
    loss = replayed(lambda x: net(x).square().mean())
    x = torch.randn(4, 3)
    for change in (
        lambda: torch.optim.Adam(net.parameters()).step(),
        lambda: net.load_state_dict({"weight": torch.ones(1, 3), "bias": torch.ones(1)}),
        lambda: net.weight.data.lerp_(torch.zeros(1, 3), 0.5),
        lambda: setattr(net.weight, "data", torch.full((1, 3), 0.25)),
    ):
        loss(x).backward()
        change()
        assert torch.equal(loss(x), loss.eager(x))
    assert len(loss.report().graphs) == 1


def test_methods_belong_to_their_object():
    class Trainer:
        def __init__(self, scale):
            self.weight = torch.tensor(scale, requires_grad=True)

        @captured(executor="replay")
        def loss(self, x):
            """The loss."""
            return self.weight * x.sum()

    first, second = Trainer(1.0), Trainer(10.0)
    for _ in range(3):
        assert first.loss(torch.ones(2)) == 2
        assert second.loss(torch.ones(2)) == 20
    assert len(first.loss.report().graphs) == 1
    assert Trainer.loss.__doc__ == "The loss."


def test_a_module_can_be_captured():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 1)

        def forward(self, x):
            return self.net(x).mean()

    module = Loss()
    loss = replayed(module)
    x = torch.randn(2, 3)
    for _ in range(3):
        assert torch.equal(loss(x), module(x))


def test_inside_another_capture_and_under_transforms_it_is_the_function():
    inner = replayed(lambda x: x.square().sum())
    outer = replayed(lambda x: 2 * inner(x))
    x = torch.randn(3, requires_grad=True)
    for _ in range(3):
        (gradient,) = torch.autograd.grad(outer(x), x)
        assert torch.equal(gradient, 4 * x)
    assert inner.report().graphs == ()
    assert torch.equal(torch.func.grad(inner)(x.detach()), 2 * x)
    assert torch.equal(torch.func.hessian(inner)(x.detach()), 2 * torch.eye(3))


def test_inside_another_capture_it_is_differentiated_twice():
    inner = replayed(lambda x: x.pow(3).sum())

    def outer(x):
        (slopes,) = torch.autograd.grad(inner(x), x, create_graph=True)
        return slopes.square().sum()

    loss, x = replayed(outer), torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (gradient,) = torch.autograd.grad(loss(x), x)
        assert torch.equal(gradient, 36 * x.detach() ** 3)
    assert len(loss.report().graphs) == 1


def test_inside_torch_compile_it_is_the_function():
    weight = torch.ones(3, requires_grad=True)
    loss = replayed(lambda x: (weight * x).square().sum())
    compiled = torch.compile(lambda x: 2 * loss(x), backend="eager", fullgraph=True)
    for _ in range(2):
        weight.grad = None
        compiled(torch.ones(3)).backward()
        assert torch.equal(weight.grad, torch.full((3,), 4.0))
    assert loss.report().graphs == ()


class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)

    @captured(executor="replay")
    def loss(self, x):
        return self.net(x).mean()


def test_a_copy_of_an_object_has_graphs_of_its_own():
    module, x = WithLoss(), torch.ones(2, 3)
    for _ in range(2):
        module.loss(x)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.net.weight.fill_(5.0)
    for _ in range(3):
        assert torch.equal(module.loss(x), module.net(x).mean())
        assert torch.equal(other.loss(x), other.net(x).mean())


class Counting(nn.Module):
    """Linear piece by piece, without biases at first, and with a state."""

    def __init__(self):
        super().__init__()
        self.net = training.mlp()
        self.register_buffer("calls", torch.zeros(()))
        self.set_biases(0.0)

    def set_biases(self, value):
        with torch.no_grad():
            for layer in (self.net[0], self.net[2]):
                layer.bias.fill_(value)

    def forward(self, x):
        self.calls.add_(1)
        return self.net(x)


def step_of(critic, ways):
    def loss(real, fake):
        with without_thresholds():
            total, parts = critic_loss(critic, real, fake, gp=1.0, r1=1.0, return_parts=True)
        ways.append(parts.ways["real"])
        return total

    return loss


def test_a_shared_backward_pass_is_proved_in_each_call(monkeypatch):
    """And where the proof fails, everything is put back and captured anew."""
    read = _adding_functions.READERS[F.linear]
    forgetful = lambda input, weight, bias=None: read(input, weight)  # noqa: E731
    monkeypatch.setitem(_adding_functions.READERS, F.linear, forgetful)
    real, fake = samples((8, 5))
    results, ways = [], {"captured": [], "eager": []}
    for name in ways:
        torch.manual_seed(0)
        critic = Counting().double()
        loss = step_of(critic, ways[name])
        loss = replayed(loss) if name == "captured" else loss
        torch.manual_seed(1)
        seen = []
        for step in range(6):
            if step == 3:
                critic.set_biases(0.5)
            critic.zero_grad()
            value = loss(real, fake)
            value.backward()
            seen += [value.detach(), *(p.grad.clone() for p in critic.net.parameters())]
        results.append([*seen, critic.calls.clone(), torch.rand(1)])
    assert_equal(*results)
    assert [way.partition(":")[0] for way in ways["eager"]] == [
        *["shared backward"] * 3,
        *["shared forward"] * 3,
    ]
    before, after = ways["captured"]  # each captured once; runs on the side leave no entry
    assert before == "shared backward"
    assert after.startswith("shared forward")
