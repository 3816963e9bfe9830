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
from wgan_fast import Lazy, Penalty, captured, critic_loss, r1_penalty


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


def given():
    """Arguments that are no tensors: (the argument, what reads it, how to change what is read)."""
    options, tensors, table = Options(), types.SimpleNamespace(scale=torch.tensor(2.0)), {"w": 2.0}
    schedule = Schedule()
    return {
        "object": (options, lambda c: c.weight, lambda: setattr(options, "weight", 3.0)),
        "tensor in it": (
            _Hashable(tensors),
            lambda c: c.held.scale,
            lambda: setattr(tensors, "scale", torch.tensor(3.0)),
        ),
        "method": (schedule._now, lambda c: c(), lambda: setattr(schedule, "done", 1)),
        "function": (lambda: table["w"], lambda c: c(), lambda: table.update(w=3.0)),
        "partial": (
            functools.partial(lambda t: t["w"], table),
            lambda c: c(),
            lambda: table.update(w=3.0),
        ),
        "class": (Options, lambda c: c.power, lambda: setattr(Options, "power", 3.0)),
    }


class _Hashable:
    """A namespace cannot be hashed."""

    def __init__(self, held):
        self.held = held


@pytest.mark.parametrize("kind", given())
def test_what_is_in_an_argument(kind):
    argument, read, change = given()[kind]
    loss = replayed(lambda x, read, c: read(c) * x.square().sum())
    power = Options.power
    try:
        for graphs in (1, 2):
            for _ in range(2):
                assert loss(X, read, argument) == loss.eager(X, read, argument)
            assert len(loss.report().graphs) == graphs
            change()
    finally:
        Options.power = power


def test_a_count_in_an_argument_is_refused():
    def loss(x, options):
        options.weight += 1
        return options.weight * x.sum()

    options = Options()
    with pytest.raises(RuntimeError, match=r"Options\.weight changes from 3\.0 to 4\.0 in a call"):
        replayed(loss)(X, options)


def test_what_another_captured_function_reads():
    options, net = Options(), nn.Linear(3, 1)
    inner = replayed(lambda x: options.weight * net(x).square().mean())
    loss = replayed(lambda x: 2 * inner(x))
    check(net, loss, X, graphs=1)
    options.weight = 5.0
    check(net, loss, X, graphs=2)


class CapturedTrainer:
    weight = 2.0

    def __init__(self):
        self.net = nn.Linear(3, 1)

    @captured(executor="replay")
    def part(self, x):
        return self.weight * self.net(x).square().mean()

    @captured(executor="replay")
    def loss(self, x):
        return 2 * self.part(x)


def test_what_another_captured_method_reads():
    trainer = CapturedTrainer()
    check(trainer.net, trainer.loss, X, graphs=1)
    trainer.weight = 3.0
    check(trainer.net, trainer.loss, X, graphs=2)


SETTINGS = {"weight": 3.0, "target": 0.5, "one_sided": True, "power": 3.0, "norm": 1}


@pytest.mark.parametrize("where", ["global", "argument", "module"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_penalty(name, where):
    critic, gp = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), Penalty(2.0)
    critic.penalty = gp if where == "module" else None
    epsilon = torch.linspace(0, 1, 4)

    def of(penalty, x):
        return critic_loss(critic, x, x + 1, gp=penalty, epsilon=epsilon)

    loss = {
        "global": lambda: replayed(lambda x: of(gp, x)),
        "argument": lambda: functools.partial(_with, replayed(lambda x, p: of(p, x)), gp),
        "module": lambda: replayed(lambda x: of(critic.penalty, x)),
    }[where]()
    before = [loss(X).item(), loss(X).item()]
    assert before == [of(gp, X).item()] * 2
    setattr(gp, name, SETTINGS[name])
    assert loss(X).item() == loss(X).item() == of(gp, X).item() != before[0]


def _with(loss, argument, x):
    return loss(x, argument)


@pytest.mark.parametrize("kind", ["Lazy", "Penalty"])
def test_a_penalty_that_is_not_due_at_every_step_any_more(kind):
    critic, lazily, r1 = nn.Linear(3, 1), Lazy(every=1), Penalty(1.0)
    losses = {
        "Lazy": lambda x: lazily(r1_penalty, critic, x),
        "Penalty": lambda x: critic_loss(critic, x, x + 1, r1=r1),
    }
    loss = replayed(losses[kind])
    check(critic, loss, X, graphs=1)
    lazily.every = r1.every = 2
    with pytest.raises(RuntimeError, match="is due at some steps only"):
        loss(X)


def test_a_number_that_is_not_a_number_is_as_good_as_another():
    net = nn.Linear(3, 1)
    net.last = float("nan")
    loss = replayed(lambda x: net(x).square().mean())
    check(net, loss, X, graphs=1)
    net.last = float("nan")  # another object
    check(net, loss, X, graphs=1)
    net.last = 1.0
    check(net, loss, X, graphs=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of torch.jit
def test_a_scripted_critic():
    net = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Linear(4, 1)))
    loss = replayed(lambda x: net(x).square().mean())
    check(net, loss, X, graphs=1)
    net.eval()
    check(net, loss, X, graphs=2)
    net.train()
    check(net, loss, X, graphs=2)
