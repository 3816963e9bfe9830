"""CUDA graphs without a GPU: the same code, with a graph that runs its calls again on the CPU."""

import functools

import pytest
import torch
from torch import nn

from tests.captured import training
from tests.captured.training import assert_equal, both, samples
from tests.memory import PeakMemory
from wgan_fast import captured
from wgan_fast._capture import choose
from wgan_fast._capture.cuda_graph import CudaGraph, split, why_not
from wgan_fast._capture.recording import Recording, recording
from wgan_fast._capture.simplify import simplified


class FakeGraphs:
    """Makes graphs that read and write the same memory at every launch, as CUDA's do."""

    def __init__(self):
        self.recorded = self.launched = 0

    def record(self, run, inputs, generators):
        self.recorded += 1
        outputs = [torch.full_like(output, torch.nan) for output in run(inputs)]

        def launch():
            self.launched += 1
            for output, new in zip(outputs, run(inputs), strict=True):
                output.copy_(new)

        return outputs, launch


@pytest.fixture
def graphs(monkeypatch):
    fake = FakeGraphs()
    made = functools.partial(CudaGraph, device="cpu", record=fake.record)
    monkeypatch.setattr(choose, "CudaGraph", made)
    return fake


def capture(loss):
    return captured(loss, executor="cuda_graph")


@pytest.mark.parametrize("critic", ["dropout", "spectral_norm", "batch_norm", "running_mean"])
@pytest.mark.filterwarnings("ignore:the critic has batch normalisation")
def test_training_is_the_same(graphs, critic):
    make, shape = training.CRITICS[critic]
    ours, theirs, loss = both(make, training.gradient_penalty, shape, capture=capture)
    assert_equal(ours, theirs)
    (graph,) = loss.report().graphs
    assert graph.executor == "cuda_graph"
    assert graphs.recorded == 1
    assert graphs.launched > 3


def test_results_are_not_overwritten_by_the_next_launch(graphs):
    critic = training.mlp().double()
    loss = capture(training.gradient_penalty(critic))
    results = []
    for fn in (loss, loss.eager):
        torch.manual_seed(0)
        for _ in range(2):
            critic.zero_grad()
            values = [fn(*samples((8, 5), seed=seed)) for seed in range(3)]
            for value in values:
                value.backward()
        results.append([*(v.detach() for v in values), *(p.grad for p in critic.parameters())])
    assert_equal(*results)


def test_parameters_that_moved_are_recorded_again(graphs):
    net, x = nn.Linear(3, 1), torch.ones(2, 3)
    loss = capture(lambda x: net(x).mean())
    for _ in range(2):
        loss(x)
    net.weight.data = torch.full((1, 3), 0.5)
    assert torch.equal(loss(x), loss.eager(x))
    with torch.no_grad():
        net.weight.mul_(3)
    assert torch.equal(loss(x), loss.eager(x))
    assert graphs.recorded == 2


def test_a_launch_allocates_what_it_hands_out_and_nothing_else():
    critic = training.mlp().double()
    tape = recorded(training.gradient_penalty(critic), *samples((8, 5)))

    def record(run, inputs, generators):
        return run(inputs), lambda: None

    graph = CudaGraph(tape, samples((8, 5)), device="cpu", record=record)
    graph(samples((8, 5)))
    with PeakMemory() as memory:
        outputs = graph(samples((8, 5)))
        assert memory.now == sum(each.numel() * each.element_size() for each in outputs)


def recorded(function, *inputs):
    mode = Recording()
    for tensor in inputs:
        mode.add_input(tensor)
    with recording(mode):
        outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    mode.tape.outputs = [mode.slot_of(output) for output in outputs]
    return simplified(mode.tape)


#: A device on which calls can be recorded, and nothing is computed.
DEVICE = "meta"


def on_device(function):
    return recorded(function, torch.ones(4, 3, device=DEVICE), torch.ones(4, 3, device=DEVICE))


def names(tape):
    return [call.op.name() for call in tape.calls]


def test_seeds_are_drawn_before_and_read_from_memory_on_the_device():
    def draw(real, fake):
        seed = torch.randint(2**63 - 1, ())
        return torch.ops.wgan_fast.random_interpolate(real, fake, seed, 0).exp().sum()

    tape = on_device(draw)
    before, inside = split(tape, DEVICE)
    assert names(before) == ["aten::randint"]
    assert names(inside) == ["wgan_fast::random_interpolate", "aten::exp", "aten::sum"]
    assert len(inside.inputs) == 3  # two arguments, and the seed
    assert why_not(tape, DEVICE) == ""


def test_copies_to_the_device_are_made_before():
    def draw(real, fake):
        return (real * torch.rand(4, 1).to(DEVICE)).sum()

    before, inside = split(on_device(draw), DEVICE)
    assert names(before) == ["aten::rand", "aten::_to_copy"]
    assert names(inside) == ["aten::mul.Tensor", "aten::sum"]


def test_draws_on_the_device_stay_inside():
    def draw(real, fake):
        return (real * torch.rand(4, 1, device=DEVICE)).sum()

    before, inside = split(on_device(draw), DEVICE)
    assert names(before) == []
    assert "aten::rand" in names(inside)


def test_what_waits_for_the_device_does_not_fit():
    tape = on_device(lambda real, fake: real.new_ones(()).sum())
    assert why_not(tape, DEVICE) == ""
    assert "needs tensors on a cuda device" in why_not(tape)
    tape = recorded(lambda x: (2 * x).double() + 1, torch.ones(2))
    tape.devices[:2] = DEVICE, DEVICE  # as if the conversion came back to the CPU
    assert "_to_copy copies from the device to the cpu" in why_not(tape, DEVICE)
    with pytest.raises(ValueError, match="copies from the device"):
        CudaGraph(tape, [torch.ones(2)], DEVICE)


@pytest.mark.parametrize("look", [torch.Tensor.item, torch.nonzero, torch.Tensor.tolist])
def test_what_depends_on_values_is_not_even_recorded(look):
    with pytest.raises(RuntimeError, match="value"):
        recorded(lambda x: look(x), torch.ones(1))
