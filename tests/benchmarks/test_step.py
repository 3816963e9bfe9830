"""The training iteration of the race, and who freezes the critic in it."""

import pytest
import torch

from benchmarks.contestants import (
    BY_INDUCTOR,
    REPLAYED,
    UnavailableError,
    captured,
    columns_of,
    compiled,
    eager,
)
from benchmarks.flops import flops_of
from benchmarks.problems import critics
from benchmarks.race.agreement import enter
from benchmarks.suites import penalty, step


def generator():
    return critics.vector_generator(2, 16, 1)


def test_frozen_spares_one_pass_and_changes_no_number():
    def build(freeze):
        gradients = eager.eager_gradients("wgan_fast")
        make = eager.iteration(penalty.TINY, generator, "wgan_fast", gradients, freeze=freeze)
        return make(torch.float64, 8)

    epsilon = torch.rand(8, dtype=torch.float64)
    for ours, theirs in zip(build(True)(epsilon), build(False)(epsilon), strict=True):
        assert torch.equal(ours, theirs)
    critic, samples = penalty.TINY.critic(torch.float64), torch.randn(8, 2, dtype=torch.float64)
    spared = flops_of(lambda: build(False)(epsilon)) - flops_of(lambda: build(True)(epsilon))
    assert spared == flops_of(lambda: critic(samples))


@pytest.mark.parametrize("phase", ["critic step", "training iteration"])
def test_all_agree(phase):
    case = step.critic_step(penalty.TINY)
    if phase == "training iteration":
        case = step.iteration(penalty.TINY, generator)
    for name in (*BY_INDUCTOR, "JAX jit"):  # which take long
        del case.contestants[name]
    entered = enter(case)
    assert entered.failed == {}
    assert list(entered.steps) == [*step.TORCH, REPLAYED]
    columns = columns_of(entered.steps[REPLAYED])
    assert columns["executor"] == "replay"
    assert 0 < columns["capture_s"] <= entered.first_call[REPLAYED]


def test_what_is_captured_runs_as_a_graph():
    """In the dtype that is timed; the same one with mixing factors and without."""
    made = captured.critic_step(penalty.TINY, "replay")(torch.float32, None)
    for epsilon in (torch.rand(64), None, None):
        made(epsilon)
    (graph,) = made.columns.__self__._run.report().graphs
    assert graph.runs == 2


@pytest.mark.skipif(
    torch.__version__ < "2.13",
    reason="before PyTorch 2.13, trace_autograd_ops does not record what a penalty does",
)
def test_what_dynamo_traces_is_the_textbook():
    """In float64, where nothing is compiled."""
    epsilon = torch.rand(8, dtype=torch.float64)
    ours, theirs = (
        eager.critic_step(penalty.TINY, name, make)(torch.float64, 8)(epsilon)
        for name, make in (
            ("traced", compiled.gradients(compiled.traced)),
            ("textbook", eager.eager_gradients("textbook")),
        )
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(b) if a is None else b)


def test_before_dynamo_records_gradients_nothing_is_traced(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.12.1")
    with pytest.raises(UnavailableError, match=r"from PyTorch 2\.13 on"):
        compiled.penalty(penalty.TINY, compiled.traced)(torch.float64, 8)
