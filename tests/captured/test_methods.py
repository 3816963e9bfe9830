"""Captured methods, copies of them, and what is read from files: each object has its own graphs."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch import nn

from wgan_fast import captured
from wgan_fast.captured import Captured

X = torch.ones(2)


def replayed_method(function):
    return captured(function, executor="replay")


class Scaled:
    def __init__(self, scale):
        self.scale = scale

    @replayed_method
    def loss(self, x):
        return self.scale * x.sum()


class Shifted(Scaled):
    @replayed_method
    def loss(self, x):
        return 100 + super().loss(x)

    shifted = loss


class CapturedInInit:
    def __init__(self):
        self.loss = captured(self.loss, executor="replay")

    def loss(self, x):
        return x.sum()


class Module(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.ones(2)), scale

    @replayed_method
    def loss(self, x):
        return self.scale * (self.weight * x).sum()


@replayed_method
def square(x):
    return x.square().sum()


def runs_of(loss):
    return [graph.runs for graph in loss.report().graphs]


def test_a_method_that_overrides_another_calls_it():
    thing = Shifted(3.0)
    assert [thing.loss(X) for _ in range(3)] == [106, 106, 106]
    assert [super(Shifted, thing).loss(X) for _ in range(3)] == [6, 6, 6]
    assert runs_of(thing.loss) == runs_of(super(Shifted, thing).loss) == [2]


def test_a_second_name_is_the_same_method():
    thing = Shifted(3.0)
    assert [thing.loss(X), thing.shifted(X), thing.shifted(X)] == [106, 106, 106]
    assert runs_of(thing.shifted) == runs_of(thing.loss) == [2]


def test_what_python_does_not_bind_is_not_bound():
    class Holding:
        loss = captured(nn.Linear(2, 1), executor="replay")

    with pytest.raises(ValueError, match="take its mean"):  # and no argument too many
        Holding().loss(X)


def test_an_object_without_a_place_for_graphs():
    class Slotted:
        __slots__ = ("scale",)

        @replayed_method
        def loss(self, x):
            return self.scale * x.sum()

    class WithPlace(Slotted):
        __slots__ = ("__dict__",)

    with pytest.raises(TypeError, match=r"a Slotted has no __dict__.*add '__dict__'"):
        Slotted().loss(X)
    thing = WithPlace()
    for scale in (2.0, 3.0):
        thing.scale = scale
        assert [thing.loss(X), thing.loss(X)] == [2 * scale, 2 * scale]


def test_methods_of_a_class():
    class First:
        scale = 3.0

        @classmethod
        @replayed_method
        def loss(cls, x):
            return cls.scale * x.sum()

    class Second(First):
        scale = 5.0

    for _ in range(2):
        assert [First.loss(X), Second.loss(X), First().loss(X)] == [6, 10, 6]


def test_an_object_that_must_not_be_changed():
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        scale: float

        @replayed_method
        def loss(self, x):
            return self.scale * x.sum()

    thing = Frozen(3.0)
    assert [thing.loss(X), thing.loss(X)] == [6, 6]
    assert runs_of(thing.loss) == [1]
    assert thing == Frozen(3.0)


def through_a_file(value):
    return pickle.loads(pickle.dumps(value))


def replica(module):
    """As PyTorch makes them for ``DataParallel``."""
    made = module._replicate_for_data_parallel()
    made.weight = module.weight
    return made


COPIES = [
    *[
        (kind, how)
        for kind in (Scaled, Module)
        for how in (copy.copy, copy.deepcopy, through_a_file)
    ],
    (Module, replica),
]


@pytest.mark.parametrize(("kind", "how"), COPIES)
def test_a_copy_is_not_the_original(kind, how):
    first = kind(3.0)
    assert [first.loss(X), first.loss(X)] == [6, 6]
    other = how(first)
    other.scale = 5.0
    assert [other.loss(X), first.loss(X), other.loss(X), first.loss(X)] == [10, 6, 10, 6]
    assert runs_of(other.loss) == [1]
    assert runs_of(first.loss) == [3]


@pytest.mark.parametrize("how", [copy.deepcopy, through_a_file])
@pytest.mark.parametrize("make", [lambda: Scaled(1.0), CapturedInInit])
def test_a_copy_of_a_bound_method_is_captured_once(how, make):
    thing = make()
    thing.loss(X)
    for loss in (how(thing).loss, how(thing.loss)):
        assert type(loss) is Captured
        assert type(loss.eager.__self__) is type(thing)
        assert loss.eager.__self__ is not thing
        assert [loss(X), loss(X)] == [2, 2]


def test_a_function_of_a_module_is_told_by_its_name():
    """As processes get it that ``torch.multiprocessing.spawn`` starts."""
    assert b"square" in pickle.dumps(square)
    assert through_a_file(square) is square
    assert copy.deepcopy(square) is square
    assert through_a_file(Scaled.loss) is Scaled.loss


def test_another_name_for_a_function_is_captured_anew():
    wrapped = captured(torch.sum, executor="replay")
    assert wrapped(X) == wrapped(X) == 2
    other = through_a_file(wrapped)
    assert other.eager is torch.sum
    assert repr(other) == repr(wrapped)
    assert other.report().graphs == ()


def test_the_first_use_of_a_method_captures_nothing_else_anew():
    original = Module(3.0)
    original.loss(X)
    module = copy.deepcopy(original)
    step = captured(lambda x: module.scale * (module.weight * x).sum(), executor="replay")
    assert step(X) == 6
    assert module.loss(X) == 6
    assert step(X) == 6
    assert runs_of(step) == [1]


@pytest.mark.parametrize("was_called", [False, True])
def test_inside_torch_compile_it_is_the_method(was_called):
    module = Module(3.0)
    if was_called:
        module.loss(X)
    compiled = torch.compile(lambda x: 2 * module.loss(x), backend="eager", fullgraph=True)
    for _ in range(2):
        module.weight.grad = None
        compiled(X).backward()
        assert torch.equal(module.weight.grad, torch.full((2,), 6.0))
    assert runs_of(module.loss) == [0] * was_called
