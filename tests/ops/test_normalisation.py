"""The operators of normalisations against PyTorch's own derivatives, to any order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from tests.comparing import assert_close
from tests.ops.compare import same_bits
from tests.ops.operators.normalisation import EPS, Cut, statistics
from wgan_fast.ops import NORMALISATION_BACKWARD, NORMALISATION_DOUBLE_BACKWARD
from wgan_fast.ops import _native as native

NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}"),
)
each_backend = pytest.mark.parametrize("backend", ["reference", "pytorch", NATIVE])

#: By the name of the layer: the shape of the samples and how they are cut.
CUTS = {
    "layer": ((3, 5), Cut(3, 1, 1)),
    "rms": ((3, 5), Cut(3, 1, 1, centred=False)),
    "group": ((2, 4, 3), Cut(4, 2, 3)),
    "instance": ((2, 3, 4), Cut(6, 3, 4)),
    "one element": ((2, 3, 1), Cut(6, 3, 1)),
    "long": ((2, 20000), Cut(2, 1, 1)),
    "long runs": ((1, 2, 17000), Cut(2, 2, 17000)),
    "long group": ((2, 4, 5000), Cut(2, 1, 5000)),
}
each_cut = pytest.mark.parametrize("name", CUTS)
each_small_cut = pytest.mark.parametrize(
    "name", [name for name in CUTS if not name.startswith("long")]
)


def normalise(x: Tensor, weight: Tensor, bias: Tensor, cut: Cut) -> Tensor:
    """The textbook: in operations of PyTorch that it differentiates itself."""
    rows = x.reshape(len(x), cut.groups, -1, cut.run)
    if cut.centred:
        rows = rows - rows.mean((2, 3), keepdim=True)
    rows = rows / (rows.square().mean((2, 3), keepdim=True) + EPS).sqrt()
    shape = (1, cut.groups, -1, 1)
    return (rows * weight.reshape(shape) + bias.reshape(shape)).reshape(x.shape)


def tensors_of(name: str) -> tuple[list[Tensor], Cut]:
    """x, weight, bias and grad_y, float64, to be differentiated by."""
    shape, cut = CUTS[name]
    weights = cut.groups * (torch.Size(shape).numel() // cut.rows // cut.run)
    shapes = [shape, (weights,), (weights,), shape]
    return [torch.randn(s, dtype=torch.float64).requires_grad_() for s in shapes], cut


def first_order(name: str) -> tuple[list[Tensor], Cut, tuple[Tensor, ...]]:
    """Those, and the gradients of x, weight and bias with a graph behind them."""
    tensors, cut = tensors_of(name)
    x, weight, bias, grad_y = tensors
    y = normalise(x, weight, bias, cut)
    return tensors, cut, torch.autograd.grad(y, (x, weight, bias), grad_y, create_graph=True)


@each_backend
@each_cut
def test_backward(backend, name):
    (x, weight, _, grad_y), cut, wanted = first_order(name)
    with torch.no_grad():
        settings = (*statistics(x, cut), weight, cut.groups, cut.run, True, True)
        found = NORMALISATION_BACKWARD(grad_y, x, *settings, backend=backend)
    for ours, theirs in zip(found, wanted, strict=True):
        assert_close(ours, theirs, 1e-12, atol=1e-14)


@each_backend
@each_cut
@pytest.mark.parametrize("with_tangents", [True, False])
def test_double_backward(backend, name, with_tangents):
    (x, weight, _, grad_y), cut, gradients = first_order(name)
    tangents = [torch.randn_like(g) for g in gradients]
    count = 3 if with_tangents else 1
    wanted = torch.autograd.grad(gradients[:count], (grad_y, x, weight), tangents[:count])
    of_weights = tangents[1:] if with_tangents else (None, None)
    with torch.no_grad():
        found = NORMALISATION_DOUBLE_BACKWARD(
            tangents[0], grad_y, x, *statistics(x, cut), weight, *of_weights,
            *(cut.groups, cut.run, True), backend=backend,
        )  # fmt: skip
    for ours, theirs in zip(found, wanted, strict=True):
        assert_close(ours, theirs, 1e-12, atol=1e-14)  # of one element, it is zero


@each_backend
@each_small_cut
def test_derivatives_of_the_operators(backend, name):
    """Mean and deviation are functions of x, whatever epsilon was, in derivatives of any order."""
    (x, weight, _, grad_y), cut = tensors_of(name)

    def backward(grad_y, x, weight):
        settings = (*statistics(x.detach(), cut), weight, cut.groups, cut.run, True, True)
        return NORMALISATION_BACKWARD(grad_y, x, *settings, backend=backend)

    def double_backward(tangent, grad_y, x, weight, a, b):
        return NORMALISATION_DOUBLE_BACKWARD(
            tangent, grad_y, x, *statistics(x.detach(), cut), weight, a, b,
            *(cut.groups, cut.run, True), backend=backend,
        )  # fmt: skip

    assert gradcheck(backward, (grad_y, x, weight))
    assert gradgradcheck(backward, (grad_y, x, weight))
    more = [torch.randn_like(like).requires_grad_() for like in (x, weight, weight)]
    assert gradcheck(double_backward, (more[0], grad_y, x, weight, *more[1:]))


def by_transform(function, x, tangent):
    return torch.func.jvp(function, (x,), (tangent,))[1]


def by_dual_numbers(function, x, tangent):
    with forward_ad.dual_level():
        result = function(forward_ad.make_dual(x, tangent))
        return forward_ad.unpack_dual(result).tangent


@each_backend
@each_small_cut
@pytest.mark.parametrize("in_forward_mode", [by_transform, by_dual_numbers])
def test_forward_mode(backend, name, in_forward_mode):
    """The tangents of both operators, when x moves: those of PyTorch's own derivatives."""
    if backend == "native" and in_forward_mode is by_transform:
        backend = "auto"  # the kernels are refused by name, and left out
    (x, weight, _, grad_y), cut = tensors_of(name)
    x, weight, grad_y = x.detach(), weight.detach(), grad_y.detach()
    v, moved = torch.randn(2, *x.shape, dtype=x.dtype)
    given = (*statistics(x, cut), weight)
    rest = (cut.groups, cut.run, True)

    def backward(x):
        return NORMALISATION_BACKWARD(grad_y, x, *given, *rest, True, backend=backend)[0]

    def textbook(x):
        x, gradient = x.requires_grad_(), grad_y.clone().requires_grad_()
        scale = weight.clone().requires_grad_()
        y = normalise(x, scale, torch.zeros_like(scale), cut)
        (first,) = torch.autograd.grad(y, x, gradient, create_graph=True)
        return first, torch.autograd.grad(first, (gradient, x, scale), v, create_graph=True)

    at = x.clone().requires_grad_()
    first, second = textbook(at)
    found = in_forward_mode(backward, x, moved)
    # Sums of at most 12 numbers, each rounded by 2e-16: 3e-15, times rstd squared, and cubed in the
    # second operator, where x varies by a few hundredths to one. Of one element, all is zero.
    assert_close(found, tangent_of(first, at, moved), 1e-12, atol=1e-13)
    for index, each in enumerate(second):
        found = in_forward_mode(
            lambda x, index=index: NORMALISATION_DOUBLE_BACKWARD(
                v, grad_y, x, *given, None, None, *rest, backend=backend
            )[index],
            x, moved,
        )  # fmt: skip
        assert_close(found, tangent_of(each, at, moved), 1e-11, atol=1e-12)


def tangent_of(result, x, moved):
    """How the result moves with x, by reverse mode, one number after the other."""
    rows = [
        torch.autograd.grad(number, x, retain_graph=True, allow_unused=True)[0]
        for number in result.reshape(-1)
    ]
    zero = torch.zeros((), dtype=x.dtype)
    moves = [zero if row is None else (row * moved).sum() for row in rows]
    return torch.stack(moves).reshape(result.shape)


@each_cut
@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_what_is_not_wanted_changes_nothing(name):
    (x, weight, _, grad_y), cut = tensors_of(name)
    rows = (*statistics(x.detach(), cut), weight.detach(), cut.groups, cut.run)
    args = (grad_y.detach(), x.detach(), *rows)
    everything = NORMALISATION_BACKWARD(*args, True, True)
    assert same_bits(NORMALISATION_BACKWARD(*args, True, False)[0], everything[0])
    assert same_bits(NORMALISATION_BACKWARD(*args, False, True)[1:], everything[1:])
    assert NORMALISATION_BACKWARD(*args, False, True)[0].numel() == 0


x = torch.randn(4, 6)
vector = torch.ones(4)
weight = torch.ones(6)
#: What is wrong -> other arguments, and words that the message must have.
WRONG = {
    "another shape": ({"grad_y": torch.ones(4, 5)}, "same shape"),
    "another dtype": ({"grad_y": torch.ones(4, 6).double()}, "dtype"),
    "not contiguous": ({"x": torch.ones(6, 4).t()}, "x must be contiguous"),
    "not contiguous gradient": ({"grad_y": torch.ones(6, 4).t()}, "strides|contiguous"),
    "nothing": ({"x": torch.ones(0, 6), "grad_y": torch.ones(0, 6)}, "must not be empty"),
    "a scalar": ({"x": torch.tensor(1.0)}, "batch dimension"),
    "integers": ({"x": x.int(), "grad_y": x.int()}, "float64, float32, float16 or bfloat16"),
    "no row": ({"rstd": torch.ones(0)}, "number for each row"),
    "rows that do not fit": ({"rstd": torch.ones(5)}, "number for each row"),
    "float64 deviations": ({"rstd": vector.double()}, "rstd"),
    "few means": ({"mean": torch.ones(3)}, "mean must have 4 elements"),
    "few weights": ({"weight": torch.ones(5)}, "weight must have 6 elements"),
    "no group": ({"groups": 0}, "groups must divide"),
    "groups that do not fit": ({"groups": 3}, "groups must divide"),
    "runs that do not fit": ({"run": 4}, "run must divide"),
}


@each_backend
@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(backend, changes, words):
    args = {"x": x, "mean": vector, "rstd": vector, "weight": weight, "groups": 1, "run": 1}
    args = {"grad_y": x.clone(), **args} | changes
    with pytest.raises(RuntimeError, match=words):
        NORMALISATION_BACKWARD(*args.values(), True, True, backend=backend)
    args = {"tangent": args["grad_y"], **args}
    cut = (args.pop("groups"), args.pop("run"))
    with pytest.raises(RuntimeError, match=words):
        NORMALISATION_DOUBLE_BACKWARD(*args.values(), None, None, *cut, True, backend=backend)


@each_backend
def test_tangents_of_the_weights(backend):
    """Both or none, and none without weights."""
    for of_weight, a, b, words in [
        (weight, weight, None, "given together"),
        (weight, None, weight, "given together"),
        (None, weight, weight, "without weight"),
        (weight, torch.ones(5), weight, "tangent_weight must have 6 elements"),
        (weight, weight, torch.ones(5), "tangent_bias must have 6 elements"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            NORMALISATION_DOUBLE_BACKWARD(
                *(x, x, x, vector, vector, of_weight, a, b, 1, 1, True), backend=backend
            )
