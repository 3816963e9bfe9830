"""Which way a graph is run, and that all ways give the same."""

import os
import queue
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.captured import training
from tests.captured.training import both, replayed, samples
from tests.comparing import assert_close
from wgan_fast import captured, fast_gradient_penalty
from wgan_fast._being_captured import being_captured, conditions_are_kept, must_hold
from wgan_fast._capture import choose, signature
from wgan_fast._capture import inductor as of_inductor
from wgan_fast._capture.replay import Replay
from wgan_fast._capture.tape import Tape
from wgan_fast._capture.unchanged import unchanged
from wgan_fast.second_order import without_thresholds

#: In float64, of numbers near 1: some hundred roundings of 1e-16, and three steps that add them up.
#: Absolute, for a bias before batch normalisation has a gradient of nothing but rounding.
ROUNDING = 1e-12


def inductor(loss):
    return captured(loss, executor="inductor")


several_draws = pytest.mark.skipif(
    not of_inductor.DRAWS_IN_ORDER,
    reason="Inductor before torch 2.13 changes the order of draws, and is refused for several: "
    "that is test_inductor_is_left_out_where_it_changes_the_order_of_draws",
)


@pytest.mark.filterwarnings("ignore:the critic has batch normalisation")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, in its compiler
@pytest.mark.parametrize("rate", [0.0, pytest.param(0.5, marks=several_draws)])
def test_inductor_is_eager_to_rounding(rate):
    """With what it has to get right: draws, dropout, state, an operator of the library."""

    def make():
        dropped = [nn.Dropout(rate)] if rate else []
        return training.mlp(nn.BatchNorm1d(16), *dropped)

    ours, theirs, loss = both(
        make, training.gradient_penalty, (8, 5), torch.float64, inductor, steps=3
    )
    assert [graph.executor for graph in loss.report().graphs] == ["inductor"]
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, atol=ROUNDING)


def test_inductor_gets_formulas_for_the_operators_of_the_library(monkeypatch):
    """It can merge these with what stands around them."""
    graphs = []
    monkeypatch.setattr(
        of_inductor, "compile_graph", lambda graph, _: graphs.append(graph) or graph
    )
    ours, theirs, loss = both(
        training.mlp, training.gradient_penalty, (8, 5), torch.float64, inductor, steps=3
    )
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, atol=ROUNDING)
    assert "wgan_fast" in str(loss._graphs[0]._tape.calls)
    (graph,) = graphs
    assert "aten" in graph.code
    assert "wgan_fast" not in graph.code


def test_inductor_is_left_out_where_it_changes_the_order_of_draws(monkeypatch):
    monkeypatch.setattr(of_inductor, "DRAWS_IN_ORDER", False)
    monkeypatch.setattr(of_inductor, "compile_graph", lambda graph, _: graph)
    x = torch.ones(4)
    loss = captured(lambda x: (x * torch.rand(4) * torch.rand(4)).sum())
    loss(x)
    (graph,) = loss.report().graphs
    assert "order of draws" in graph.left_out["inductor"]
    one = inductor(lambda x: (x * torch.rand(4)).sum())
    one(x)  # one draw has no order


class Dtypes(torch.fx.Interpreter):
    """Runs a graph and notes of which dtypes the tensors in it are."""

    def __init__(self, graph):
        super().__init__(graph)
        self.found = set()

    def run_node(self, node):
        result = super().run_node(node)
        self.found |= {x.dtype for x in (result,) if isinstance(x, torch.Tensor)}
        return result


def test_inductor_computes_in_the_dtype_of_the_kernels(monkeypatch):
    """The references compute in float64, which takes twice as long and is not what is asked for."""
    compiled = []
    monkeypatch.setattr(
        of_inductor, "compile_graph", lambda *given: compiled.append(given) or given[0]
    )
    critic = training.mlp(nn.LayerNorm(16), nn.SiLU())
    real, fake = (x.float() for x in samples((8, 5)))
    epsilon = torch.rand(8)
    with without_thresholds():
        loss = inductor(lambda: fast_gradient_penalty(critic, real, fake, epsilon=epsilon))
        loss()
    calls = str(loss._graphs[0]._tape.calls)
    assert "activation_gradients" in calls
    assert "normalisation_double_backward" in calls
    ((graph, given),) = compiled
    with torch.no_grad():
        dtypes = Dtypes(graph)
        dtypes.run(*given)
    assert torch.float32 in dtypes.found
    assert torch.float64 not in dtypes.found


class Slow(Replay):
    name = "inductor"

    def __init__(self, tape, inputs):
        super().__init__(tape)
        self._calls = 0

    def __call__(self, inputs):
        for _ in range(20):
            result = super().__call__(inputs)
        return result


class Quick:
    name = "inductor"

    def __init__(self, tape, inputs):
        self._results = Replay(tape)(inputs)

    def __call__(self, inputs):
        return self._results


def broken(tape, inputs):
    raise RuntimeError("a page of text\nInvalidCxxCompiler: No working C++ compiler found\nmore")


@pytest.mark.parametrize(("stand_in", "fastest"), [(Slow, "replay"), (Quick, "inductor")])
def test_auto_times_all_and_keeps_the_fastest(monkeypatch, stand_in, fastest):
    monkeypatch.setattr(choose, "Inductor", stand_in)
    loss = captured(training.gradient_penalty(training.mlp()))
    loss(*samples((8, 5), torch.float32))
    (graph,) = loss.report().graphs
    assert graph.executor == fastest
    assert set(graph.seconds) == {"replay", "inductor"}
    assert all(0 < seconds < graph.capture_seconds for seconds in graph.seconds.values())
    assert graph.seconds[fastest] == min(graph.seconds.values())
    assert "cuda device" in graph.left_out["cuda_graph"]
    assert 10 < graph.calls < 200
    assert graph.bytes > 8 * 5 * 4
    text = str(loss.report())
    assert f"{fastest}: {graph.calls} calls" in text
    assert "without cuda_graph: " in text


def test_auto_changes_nothing_by_timing(monkeypatch):
    monkeypatch.setattr(choose, "Inductor", Slow)

    def make():
        return training.normalised(nn.utils.parametrizations.spectral_norm)

    ours, theirs, _ = both(make, training.gradient_penalty, (8, 5), capture=captured)
    training.assert_equal(ours, theirs)


def test_what_does_not_work_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(choose, "Inductor", broken)
    loss = captured(training.gradient_penalty(training.mlp()))
    loss(*samples((8, 5), torch.float32))
    (graph,) = loss.report().graphs
    assert graph.executor == "replay"
    assert graph.left_out["inductor"] == (
        "RuntimeError: InvalidCxxCompiler: No working C++ compiler found"
    )
    with pytest.raises(RuntimeError, match=r"executor 'inductor' does not work here.*C\+\+"):
        inductor(training.gradient_penalty(training.mlp()))(*samples((8, 5), torch.float32))


def test_a_cuda_graph_needs_a_device():
    loss = captured(lambda x: x.sum(), executor="cuda_graph")
    with pytest.raises(RuntimeError, match=r"'cuda_graph' does not work here: .*cuda device"):
        loss(torch.ones(3))


SCRIPT = """
import torch
from wgan_fast import captured, fast_gradient_penalty
weight = torch.ones(3, requires_grad=True)
loss = captured(lambda x: (weight * x).square().sum())
for _ in range(2):
    weight.grad = None
    loss(torch.full((3,), 2.0)).backward()
assert weight.grad.tolist() == [8, 8, 8]
print(loss.report().graphs[0])
"""


def test_without_a_compiler(tmp_path):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
        env=os.environ | {
            "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
            "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "executor='replay'" in run.stdout
    assert "No working C++ compiler found" in run.stdout


@pytest.mark.parametrize(("devices", "waits"), [(["cuda", "cpu"], 1), (["cpu", "meta"], 0)])
def test_what_is_timed_on_a_device_is_waited_for(monkeypatch, devices, waits):
    """Whatever the arguments are: the critic may lie there, and there may be no arguments."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: waited.append(None))
    monkeypatch.setattr(choose, "_TIMED", 3)
    monkeypatch.setattr(choose, "_UNTIMED", 2)
    seconds = choose._times({"replay": lambda inputs: None}, Tape(devices=devices), [])
    assert list(seconds) == ["replay"]
    assert len(waited) == 5 * waits


def test_draws_on_a_device_are_set_back_where_nothing_else_is_there(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    with unchanged(Tape(devices=["cuda"]), []):
        torch.rand(3, generator=generator)
    assert torch.equal(generator.get_state(), state)


def test_autocast_counts_on_the_accelerator_that_is_there(monkeypatch):
    """Whichever it is."""
    accelerators = []
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: accelerators[-1]
    )
    for kind in ("xpu", "mps"):
        accelerators.append(torch.device(kind))
        monkeypatch.setattr(signature, "AUTOCAST_DEVICES", signature._autocast_devices())
        before = signature.settings_now()
        torch.set_autocast_enabled(kind, True)
        try:
            assert signature.settings_now() != before
        finally:
            torch.set_autocast_enabled(kind, False)
        assert signature.settings_now() == before
    accelerators.append(None)
    assert signature._autocast_devices() == ("cpu",)


def test_conditions_on_a_device_are_not_looked_at():
    """Which device it is does not depend on the arguments, of which there are none."""
    kept = queue.SimpleQueue()

    def loss():
        if conditions_are_kept():
            must_hold(torch.ones((), dtype=torch.bool, device="meta"))
        if being_captured():
            kept.put(conditions_are_kept())
        return torch.ones(2).sum()

    fn = replayed(loss)
    assert fn() == fn() == 2
    assert [kept.get() for _ in range(kept.qsize())] == [True, True, False, False]


def test_nothing_is_reported_before_the_first_call():
    loss = replayed(lambda x: x.sum())
    assert loss.report().graphs == ()
    assert str(loss.report()) == "nothing has been captured yet"
