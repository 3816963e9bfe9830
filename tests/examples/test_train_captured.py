"""train.py --captured: the same run, bit for bit, by replayed losses."""

import pytest
import torch
from gan.methods import METHODS
from gan.options import settings_of
from gan.run import Run

from .conftest import TINY, assert_same_state, checkpoint, rows, without_time

CPU = torch.device("cpu")


@pytest.mark.parametrize("data", ["digits", "gaussians8"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_same(method, data):
    from train import train

    options = {"data": data, "method": method, "width": 4, "steps": 3, "batch_size": 8}
    settings = settings_of(options | ({"size": 8} if data == "digits" else {}))
    shape = (1, 8, 8) if data == "digits" else (2,)
    batches = torch.randn(settings.steps * settings.n_critic, 8, *shape)
    runs, seen = [Run(settings, shape, CPU) for _ in range(2)], []
    runs[1].method = runs[1].method.with_captured_losses("replay")
    for run in runs:
        torch.manual_seed(5)
        seen.append(torch.stack(list(train(run, iter(batches)))))
    assert torch.equal(*seen)
    eager, replayed = ({n: p.state_dict() for n, p in run._parts().items()} for run in runs)
    assert_same_state(eager, replayed)
    # The first of the calls runs the function as it is.
    calls = {"critic_loss": settings.steps * settings.n_critic, "generator_loss": settings.steps}
    for name, count in calls.items():
        report = getattr(runs[1].method, name).report()
        assert [(graph.executor, graph.runs) for graph in report.graphs] == [("replay", count - 1)]
        assert report.eager_calls == 0


def test_a_run_may_go_on_captured_as_it_began_eagerly_and_as_eagerly_as_it_began(train, tmp_path):
    captured = ("--captured", "replay")
    for name, begin, end in [("eager", (), ()), ("a", captured, ()), ("b", (), captured)]:
        assert train(*TINY, *begin, "--steps", 2, "--name", name, "--quick")[0] == 0
        assert train("--resume", tmp_path / name, *end, "--steps", 4, "--quick")[0] == 0
    for name in ("a", "b"):
        assert_same_state(checkpoint(tmp_path / "eager"), checkpoint(tmp_path / name))
        assert without_time(rows(tmp_path / "eager")) == without_time(rows(tmp_path / name))


@pytest.mark.parametrize(
    ("arguments", "executor"),
    [((), None), (("--captured",), "replay"), (("--captured", "auto"), "auto")],
)
def test_the_executor_is_the_one_that_is_asked_for(arguments, executor, train, monkeypatch):
    asked = []

    def with_captured_losses(self, executor):
        asked.append(executor)
        return self

    monkeypatch.setattr("gan.methods.Method.with_captured_losses", with_captured_losses)
    assert train(*TINY, "--steps", 1, "--quick", *arguments)[0] == 0
    assert asked == ([executor] if executor else [])


def test_a_cuda_graph_without_a_gpu_is_refused(train):
    status, _, error = train(*TINY, "--steps", 1, "--captured", "cuda_graph")
    assert status == 2
    assert "--captured cuda_graph is for a GPU, not for cpu; take replay or auto" in error


def test_a_method_with_captured_losses_is_the_same_method():
    method = METHODS["r1"].with_loss("hinge")
    same = method.with_captured_losses("replay")
    assert vars(same) == vars(method)
    assert (same.title, same.loss) == ("GAN + R1, hinge loss", "hinge")
