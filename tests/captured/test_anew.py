"""What changes the function is captured anew; what does not, is not."""

import contextlib

import pytest
import torch
from torch import nn

from tests.captured import training
from tests.captured.checking import X, check
from tests.captured.training import replayed, samples
from wgan_fast import captured


def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Tanh(), nn.Linear(4, 1))
    net.scale = 1.0
    loss = replayed(lambda x: net.scale * net(x).square().mean())
    return net, loss


CHANGES = {
    "shape": lambda net: X[:2],
    "strides": lambda net: X.t().contiguous().t(),
    "dtype": lambda net: (net.double(), X.double())[1],
    "requires_grad of an argument": lambda net: X.clone().requires_grad_(),
    "requires_grad of a parameter": lambda net: net[0].weight.requires_grad_(False) is None,
    "training": lambda net: net.eval() is None,
    "training of a layer": lambda net: net[1].eval() is None,
    "another parameter": lambda net: setattr(net[0], "bias", nn.Parameter(torch.ones(4))),
    "another layer": lambda net: net.__setitem__(2, nn.ReLU()),
    "load_state_dict(assign=True)": lambda net: net.load_state_dict(
        {name: 2 * value.detach() for name, value in net.state_dict().items()}, assign=True
    ) is None,
    "a number": lambda net: setattr(net, "scale", 3.0),
    "a setting of a layer": lambda net: setattr(net[1], "p", 1.0),
    "a parametrisation": lambda net: nn.utils.parametrizations.weight_norm(net[0]) is None,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_captures_again(change):
    net, loss = make()
    check(net, loss, X, 1)
    x = CHANGES[change](net)
    check(net, loss, x if isinstance(x, torch.Tensor) else X, 2)


@pytest.mark.parametrize(
    "settings",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.autocast("cpu", torch.float16),
        torch.no_grad,
        torch.inference_mode,
    ],
)
def test_a_setting_captures_again(settings):
    net, loss = make()
    check(net, loss, X, 1)
    with settings():
        check(net, loss, X, 2)
    check(net, loss, X, 2)


def test_default_dtype_and_determinism_capture_again():
    net, loss = make()
    check(net, loss, X, 1)
    torch.set_default_dtype(torch.float64)
    try:
        check(net, loss, X, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        check(net, loss, X, 3)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_graph_that_fits_is_taken_again():
    net, loss = make()
    for _ in range(3):
        for count in (4, 3, 2):
            check(net, loss, X[:count], len(loss.report().graphs) or 1) if count == 4 else loss(
                X[:count]
            )
    assert len(loss.report().graphs) == 3


def test_equal_numbers_and_other_values_do_not_capture_again():
    net, loss = make()
    check(net, loss, X, 1)
    net.scale = float("1.0")  # another object
    net[0].weight.data = 2 * net[0].weight.data
    with torch.no_grad():
        net[3].weight.mul_(2)
    check(net, loss, 2 * X, 1)


def test_values_among_the_arguments():
    loss = replayed(lambda x, factor, way="sum": factor * getattr(x, way)())
    x = torch.ones(2)
    assert loss(x, 2) == loss(x, 2) == 4
    assert loss(x, 2.0) == 4
    assert loss(x, True) == 2
    assert loss(x, 2, "mean") == loss(x, 2, way="mean") == 2
    assert len(loss.report().graphs) == 5
    with pytest.raises(TypeError, match=r"can be hashed.*make a tensor"):
        loss(x, torch.ones(2).numpy())


def test_too_many_graphs_run_eagerly_with_one_warning():
    net, _ = make()
    loss = replayed(lambda x: net(x).mean(), max_graphs=2)
    for count in (4, 3):
        loss(X[:count])
    with pytest.warns(UserWarning, match=r"2 graphs.*the shape of argument 0 changed"):
        loss(X[:2])
    for count in (1, 2):  # without a warning, which would be an error
        assert torch.equal(loss(X[:count]), loss.eager(X[:count]))
    report = loss.report()
    assert len(report.graphs) == 2
    assert report.eager_calls == 3
    assert "shape" in str(report)
    check(net, loss, X, 2)


def test_a_counter_is_named_in_the_warning():
    net, _ = make()
    loss = replayed(lambda x: net(x).mean() * net.scale, max_graphs=1)
    loss(X)
    net.scale = 2.0
    with pytest.warns(UserWarning, match=r"net\.scale changed"):
        loss(X)


def test_the_librarys_memories_do_not_freeze():
    """What it looks for at first calls only, it finds at the first call, which is no capture."""
    critic = training.mlp(nn.BatchNorm1d(16)).double()
    loss = replayed(training.gradient_penalty(critic))
    with pytest.warns(UserWarning, match="batch normalisation") as warned:
        loss(*samples((8, 5)))
    loss(*samples((8, 5)))
    assert len(warned) == 1


def test_arguments_of_captured():
    with pytest.raises(ValueError, match="executor"):
        captured(lambda x: x, executor="quick")
    with pytest.raises(TypeError, match="max_graphs"):
        captured(lambda x: x, max_graphs=1.5)
    with pytest.raises(ValueError, match="max_graphs"):
        captured(lambda x: x, max_graphs=0)
    with pytest.raises(TypeError, match="fallback"):
        captured(lambda x: x, fallback="yes")
    with pytest.raises(TypeError, match="loss must be callable"):
        captured(3)


def test_nothing_is_left_behind():
    """No hook, no mode, no setting."""
    _, loss = make()
    before = torch.get_rng_state()
    loss(X)
    assert torch.equal(torch.get_rng_state(), before)
    with contextlib.suppress(RuntimeError):
        replayed(lambda x: x.sum().item() * x.sum())(X)
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert X.sum().item() == pytest.approx(0, abs=1e-6)
