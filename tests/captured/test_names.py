"""What a captured function reads from elsewhere is looked at in each call, wherever it is kept."""

import collections
import enum
import functools
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.captured.checking import X, check
from tests.captured.training import replayed


class Options:
    """Numbers under the names of attributes, as command lines are read into."""

    power = 1.0

    def __init__(self, weight=2.0):
        self.weight, self.step = weight, 0


class Slotted:
    __slots__ = ("weight",)


class Schedule:
    """Annealed by what is behind a call, and a method that this calls."""

    def __init__(self):
        self.start, self.done = 2.0, 0

    def __call__(self):
        return self._now()

    def _now(self):
        return self.start * 0.5**self.done


class Annealed:
    """By what is behind a property."""

    def __init__(self):
        self.first, self.passed = 2.0, 0

    @property
    def weight(self):
        return self.first * 0.5**self.passed


class Way(enum.Enum):
    MEAN = "mean"
    SUM = "sum"


class Scaled(nn.Module):
    """A critic with settings of every kind."""

    power = 1.0

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)
        self.scales, self.table, self.options = [2.0], {"scale": 2.0}, Options()
        self.activation, self.dims = torch.tanh, (1,)
        self.layers = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, x):
        x = self.activation(self.net(x)).sum(self.dims, keepdim=True) * self.scales[0]
        x = x * self.table["scale"] * self.options.weight * self.power * scale
        return sum(layer(x.expand(-1, 3)) for layer in self.layers)


scale = 1.0
functions = types.ModuleType("functions")


def set_scale(value):
    global scale
    scale = value


def helper(x):
    return scale * x.sum()


class Trainer:
    def __init__(self, net):
        self.net, self.config = net, {"weights": [1.0, 2.0]}

    def weight(self):
        return self.config["weights"][1]

    def loss(self, x):
        return self.weight() * self.net(x).square().mean()


def scaled(read):
    """A function that multiplies by what is read."""
    return lambda net: lambda x: read() * net(x).square().mean()


def kept_in(holder, read, change):
    """A kind of place: (the function of a net, how to change what is read)."""
    return scaled(lambda: read(holder)), lambda net: change(holder)


def kinds():
    namespace, options = types.SimpleNamespace(weight=2.0), Options()
    slotted = Slotted()
    slotted.weight = 2.0
    module = types.ModuleType("settings")
    module.weight = 2.0
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    return {
        "dict": kept_in({"w": 2.0}, lambda h: h["w"], lambda h: h.update(w=3.0)),
        "list": kept_in([2.0], lambda h: h[0], lambda h: h.__setitem__(0, 3.0)),
        "longer list": kept_in([2.0], sum, lambda h: h.append(3.0)),
        "longer dict": kept_in({"a": 2.0}, lambda h: sum(h.values()), lambda h: h.update(b=3.0)),
        "list in a dict": kept_in({"w": [2.0]}, lambda h: h["w"][0], lambda h: h["w"].insert(0, 3)),
        "list in a tuple": kept_in(([2.0],), lambda h: h[0][0], lambda h: h[0].insert(0, 3)),
        "deque": kept_in(collections.deque([2.0], 1), lambda h: h[0], lambda h: h.append(3.0)),
        "set": kept_in({"a"}, lambda h: 2.0 + ("b" in h), lambda h: h.add("b")),
        "array": kept_in(np.ones(1), lambda h: float(h[0]), lambda h: h.__setitem__(0, 3.0)),
        "namespace": kept_in(namespace, lambda h: h.weight, lambda h: setattr(h, "weight", 3.0)),
        "object": kept_in(options, lambda h: h.weight, lambda h: setattr(h, "weight", 3.0)),
        "class": kept_in(options, lambda h: h.power, lambda h: setattr(h, "power", 3.0)),
        "slots": kept_in(slotted, lambda h: h.weight, lambda h: setattr(h, "weight", 3.0)),
        "module": kept_in(module, lambda h: h.weight, lambda h: setattr(h, "weight", 3.0)),
        "getattr": kept_in(
            types.SimpleNamespace(weight=2.0),
            lambda h: getattr(h, "weight"),  # noqa: B009 - what the test is about
            lambda h: setattr(h, "weight", 3.0),
        ),
        "property": kept_in(Annealed(), lambda h: h.weight, lambda h: setattr(h, "passed", 1)),
        "call": kept_in(Schedule(), lambda h: h(), lambda h: setattr(h, "done", 1)),
        "enumeration": kept_in(
            {"way": Way.MEAN}, lambda h: 1 + (h["way"] is Way.SUM), lambda h: h.update(way=Way.SUM)
        ),
        "optimiser": kept_in(
            optimiser,
            lambda h: h.param_groups[0]["lr"],
            lambda h: h.param_groups[0].update(lr=3.0),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", kinds())
def test_where_a_number_is_kept(kind):
    make_loss, change = kinds()[kind]
    net = nn.Linear(3, 1)
    loss = replayed(make_loss(net))
    check(net, loss, X, graphs=1)
    change(net)
    check(net, loss, X, graphs=2)


OF_A_MODULE = {
    "list": lambda net: net.scales.__setitem__(0, 3.0),
    "dict": lambda net: net.table.update(scale=3.0),
    "object": lambda net: setattr(net.options, "weight", 3.0),
    "function": lambda net: setattr(net, "activation", F.softplus),
    "tuple": lambda net: setattr(net, "dims", (0, 1)),
    "class": lambda net: setattr(net, "power", 3.0),
    "global name": lambda net: set_scale(3.0),
    "layer that is added": lambda net: net.layers.append(nn.Linear(3, 3)),
    "hook": lambda net: net.net.register_forward_hook(lambda module, x, y: 3 * y),
    "hook before": lambda net: net.net.register_forward_pre_hook(lambda module, x: (3 * x[0],)),
    "forward": lambda net: setattr(net, "forward", lambda x: net.net(x)),
}


@pytest.mark.parametrize("kind", OF_A_MODULE)
def test_what_belongs_to_a_module(kind):
    net = Scaled()
    loss = replayed(lambda x: net(x).square().mean())
    try:
        check(net, loss, X, graphs=1)
        OF_A_MODULE[kind](net)
        check(net, loss, X, graphs=2)
    finally:
        set_scale(1.0)


def test_a_hook_in_the_place_of_another():
    net = nn.Linear(3, 1)
    handle = net.register_forward_hook(lambda module, x, y: 2 * y)
    loss = replayed(lambda x: net(x).square().mean())
    check(net, loss, X, graphs=1)
    handle.remove()
    net.register_forward_hook(lambda module, x, y: 3 * y)
    check(net, loss, X, graphs=2)


def test_what_a_method_reads_through_another():
    trainer = Trainer(nn.Linear(3, 1))
    loss = replayed(trainer.loss)
    check(trainer.net, loss, X, graphs=1)
    trainer.config["weights"][1] = 5.0
    check(trainer.net, loss, X, graphs=2)


def test_arguments_of_a_partial_and_what_a_decorator_reads():
    net, weights, factors = nn.Linear(3, 1), [2.0], {"factor": 1.0}

    def decorated(function):
        @functools.wraps(function)
        def wrapper(*args):
            return factors["factor"] * function(*args)

        return wrapper

    @decorated
    def loss(weights, x):
        return weights[0] * net(x).square().mean()

    step = replayed(functools.partial(loss, weights))
    check(net, step, X, graphs=1)
    weights[0] = 3.0
    check(net, step, X, graphs=2)
    factors["factor"] = 3.0
    check(net, step, X, graphs=3)


def test_what_a_name_of_the_function_stands_for():
    shift = 1.0
    loss = replayed(lambda x: 2 * helper(x) + shift)
    try:
        assert loss(torch.ones(2)) == loss(torch.ones(2)) == 5
        set_scale(5.0)
        assert loss(torch.ones(2)) == loss(torch.ones(2)) == 21
        shift = 2.0
        assert loss(torch.ones(2)) == loss(torch.ones(2)) == 22
        assert len(loss.report().graphs) == 3
    finally:
        set_scale(1.0)


def test_a_number_in_a_default():
    options, net = Options(2.0), nn.Linear(3, 1)

    def loss(x, options=options, *, more=Options(1.0)):  # noqa: B008 - what the test is about
        return options.weight * more.weight * net(x).square().mean()

    step = replayed(loss)
    check(net, step, X, graphs=1)
    options.weight = 5.0
    check(net, step, X, graphs=2)
    loss.__kwdefaults__["more"].weight = 3.0
    check(net, step, X, graphs=3)


def test_an_attribute_that_is_not_read_is_nobodys_affair():
    options, net = Options(), nn.Linear(3, 1)
    loss = replayed(lambda x: options.weight * net(x).square().mean())
    check(net, loss, X, graphs=1)
    options.step = 1
    check(net, loss, X, graphs=1)
    options.weight = 3.0
    check(net, loss, X, graphs=2)
    options.weight = 2.0
    check(net, loss, X, graphs=2)


@pytest.mark.parametrize("new", [torch.tensor(5.0), nn.Linear(3, 1)], ids=["tensor", "module"])
def test_another_tensor_or_module_in_an_object(new):
    run = types.SimpleNamespace(net=nn.Linear(3, 1), scale=torch.tensor(2.0))
    loss = replayed(lambda x: run.scale * run.net(x).square().mean())
    check(run.net, loss, X, graphs=1)
    setattr(run, "net" if isinstance(new, nn.Module) else "scale", new)
    check(run.net, loss, X, graphs=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of torch.jit
def test_a_scripted_critic():
    net = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Linear(4, 1)))
    loss = replayed(lambda x: net(x).square().mean())
    check(net, loss, X, graphs=1)
    net.eval()
    check(net, loss, X, graphs=2)
    net.train()
    check(net, loss, X, graphs=2)
