"""What a captured function writes elsewhere: results, averages that go on, counts that cannot."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from tests.captured.checking import X, check
from tests.captured.training import replayed


@pytest.mark.parametrize("before", [None, torch.zeros(())])
def test_what_is_logged_does_not_capture_again(before):
    net = nn.Linear(3, 1)
    log, run, history = {"loss": before}, types.SimpleNamespace(loss=before), []

    def loss(x):
        value = net(x).square().mean()
        log["loss"] = run.loss = value.detach()
        history.append(value.detach())
        return value

    step = replayed(loss)
    step(X)
    assert len(history) == 1  # the runs on the side leave nothing in a list
    check(net, step, X, graphs=1)
    history.clear()
    check(net, step, X, graphs=1)


def averages():
    """Functions that keep a running mean, each in another kind of place."""
    run, table, items = types.SimpleNamespace(mean=torch.zeros(())), {}, [torch.zeros(())]
    table["mean"] = mean = torch.zeros(())

    def in_an_object(x):
        run.mean = 0.5 * run.mean + x.sum()
        return run.mean * 2

    def in_a_dict(x):
        table["mean"] = 0.5 * table["mean"] + x.sum()
        return table["mean"] * 2

    def in_a_list(x):
        items[0] = 0.5 * items[0] + x.sum()
        return items[0] * 2

    def in_a_variable(x):
        nonlocal mean
        mean = 0.5 * mean + x.sum()
        return mean * 2

    return {f.__name__: f for f in (in_an_object, in_a_dict, in_a_list, in_a_variable)}


@pytest.mark.parametrize("place", averages())
def test_an_average_goes_on(place):
    results = [[step(X + i).item() for i in range(4)] for step in (
        averages()[place], replayed(averages()[place])
    )]  # fmt: skip
    assert results[0] == results[1]


def counters():
    count, counts, table, numbers = 0, [0], {"n": 0}, iter(range(100))
    generator = np.random.default_rng(0)

    def variable(x):
        nonlocal count
        count += 1
        return count * x.sum()

    def entry(x):
        counts[0] += 1
        return counts[0] * x.sum()

    def key(x):
        table["n"] += 1
        return table["n"] * x.sum()

    return {
        "variable": variable,
        "entry of a list": entry,
        "entry of a dict": key,
        "iterator": lambda x: next(numbers) * x.sum(),
        "generator of NumPy": lambda x: generator.random() * x.sum(),
        "tensors of Python numbers": lambda x: torch.tensor(float(next(numbers))) * x.sum(),
        "number of calls": lambda x: sum(x.sum() for _ in range(next(numbers) + 1)),
        "fewer calls": lambda x: sum((x.sum() for _ in range(9 - next(numbers))), x.mean()),
    }


@pytest.mark.parametrize("kind", counters())
def test_what_changes_by_itself_is_refused(kind):
    with pytest.raises(RuntimeError, match=r"in a call|does something else"):
        replayed(counters()[kind])(X)


def test_a_result_of_the_last_call_that_is_kept_out_of_sight_is_refused():
    """Under a name that is put together, where it cannot be put back, nor goes on by itself."""
    run, name = types.SimpleNamespace(last=torch.zeros(())), "".join(["la", "st"])

    def loss(x):
        change = x.sum() - getattr(run, name)
        setattr(run, name, x.sum())
        return change

    with pytest.raises(RuntimeError, match=r"does something else: it reads another tensor"):
        replayed(loss)(X)


def test_random_functions_and_constants_are_the_same_twice():
    """What is compared is what Python does, not what is drawn."""
    loss = replayed(lambda x: (torch.rand(4, 3) * x + torch.tensor([1.0, 2.0, float("nan")])).sum())
    loss(X)
    assert len(loss.report().graphs) == 1
