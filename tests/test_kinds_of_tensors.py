"""Tensors that are no ordinary ones: refused with a piece of advice that works, or left to plain
PyTorch, which knows them."""

import re

import pytest
import torch

from wgan_fast import dragan_penalty, fast_gradient_penalty, ops, r1_penalty, r2_penalty
from wgan_fast.ops.interpolate import INTERPOLATE


def square(x):
    return (x**2).flatten(1).sum(1)


def penalty(real=None, fake=None, **arguments):
    real, fake = (torch.ones(4, 3) if x is None else x for x in (real, fake))
    return fast_gradient_penalty(square, real, fake, **arguments)


def nested(layout):
    parts = [torch.randn(n, 3) for n in (2, 5, 1, 2)]
    return torch.nested.nested_tensor(parts, layout=layout)


def quantised(values):
    return torch.quantize_per_tensor(values, 0.25, 0, torch.qint8)


#: PyTorch warns of what is new, or deprecated.
unusual = pytest.mark.filterwarnings("ignore:.*(nested|Sparse|quantize):UserWarning")


#: Kinds of tensors that have no values in the ordinary way, and what the advice must make of them.
KINDS = {
    "jagged": (lambda: nested(torch.jagged), "to_padded_tensor"),
    "nested": (lambda: nested(torch.strided), "to_padded_tensor"),
    "coo": (lambda: torch.randn(4, 4).to_sparse(), "to_dense"),
    "csr": (lambda: torch.randn(4, 4).to_sparse_csr(), "to_dense"),
    "csc": (lambda: torch.randn(4, 4).to_sparse_csc(), "to_dense"),
    "bsr": (lambda: torch.randn(4, 4).to_sparse_bsr((2, 2)), "to_dense"),
    "bsc": (lambda: torch.randn(4, 4).to_sparse_bsc((2, 2)), "to_dense"),
    "mkldnn": (lambda: torch.randn(4, 4).to_mkldnn(), "to_dense"),
    "complex": (lambda: torch.randn(4, 4, dtype=torch.complex128), "view_as_real"),
    "conjugated": (lambda: torch.randn(4, 4, dtype=torch.complex64).conj(), "view_as_real"),
    "quantised": (lambda: quantised(torch.randn(4, 4)), "dequantize"),
    "integers": (lambda: torch.ones(4, 4).int(), "float"),
}
every_kind = pytest.mark.parametrize(("make", "advice"), KINDS.values(), ids=KINDS)


def advised(error, name, value):
    """What the last call in an error message, with the argument's name in it, makes of a value."""
    code = re.findall(rf"(?:torch\.view_as_real\()?\b{name}\.?[\w.()]*", str(error))[-1]
    return eval(code, {name: value, "torch": torch})


@unusual
@every_kind
@pytest.mark.parametrize(
    ("penalty_of", "name"), [(r1_penalty, "real"), (r2_penalty, "fake"), (dragan_penalty, "real")]
)
def test_the_advice_for_other_kinds_of_tensors_works(penalty_of, name, make, advice):
    samples = make()
    with pytest.raises(TypeError, match=rf"^{name} must be .*; .*{advice}") as info:
        penalty_of(square, samples)
    dense = advised(info.value, name, samples)
    assert penalty_of(square, dense).isfinite()


@unusual
@pytest.mark.parametrize("name", ["real", "fake"])
@every_kind
def test_other_kinds_of_tensors_on_either_side(name, make, advice):
    with pytest.raises(TypeError, match=rf"^{name} must be .*; .*{advice}"):
        penalty(**{name: make()})


@unusual
@pytest.mark.parametrize(
    ("convert", "advice"),
    [
        (torch.Tensor.to_sparse, "to_dense"),
        (torch.Tensor.to_mkldnn, "to_dense"),
        (lambda epsilon: epsilon + 0j, "epsilon.real"),
        (lambda epsilon: (epsilon + 0j).conj(), "epsilon.real"),
        (quantised, "dequantize"),
        (torch.Tensor.int, "float"),
    ],
)
def test_the_advice_for_other_kinds_of_epsilon_works(convert, advice):
    epsilon = convert(torch.ones(4))
    with pytest.raises(TypeError, match=rf"^epsilon must .*; .*{advice}") as info:
        penalty(epsilon=epsilon)
    expected = penalty(epsilon=torch.ones(4))
    assert penalty(epsilon=advised(info.value, "epsilon", epsilon)) == expected


@unusual
def test_a_nested_epsilon():
    for layout in (torch.jagged, torch.strided):
        with pytest.raises(TypeError, match=r"^epsilon must be a dense tensor \[B\], .* nested"):
            penalty(epsilon=nested(layout))


@pytest.mark.parametrize("name", ["real", "fake", "epsilon"])
def test_tensors_without_values(name):
    value = torch.ones(4, 3, device="meta") if name != "epsilon" else torch.ones(4, device="meta")
    with pytest.raises(TypeError, match=f"^{name} must hold values, .* device meta"):
        penalty(**{name: value})


@unusual
def test_nested_tensors_in_the_wrong_place():
    """An error message must not ask them for their shape."""
    for name in ("lambda_gp", "backend", "chunk_size", "critic_args", "generator"):
        with pytest.raises((TypeError, ValueError), match=f"^{name} .* a nested torch.float32"):
            penalty(**{name: nested(torch.strided)})


class Labelled(torch.Tensor):
    """A tensor of another type, as libraries for images have them."""


def test_other_types_of_tensors_take_plain_pytorch(monkeypatch):
    monkeypatch.setattr(INTERPOLATE, "overload", None)  # which is what calls the kernel
    epsilon, samples = torch.rand(4), torch.randn(2, 4, 3)
    real, fake = samples.as_subclass(Labelled)
    ours = penalty(real, fake, epsilon=epsilon)
    torch.testing.assert_close(ours, penalty(*samples, epsilon=epsilon, backend="reference"))
    message = 'backend="native" was asked for, but .* another type than torch.Tensor'
    with pytest.raises(RuntimeError, match=message):
        penalty(real, fake, epsilon=epsilon, backend="native")


SEED = torch.tensor(3)
FACTORS, OTHER = torch.rand(4).double(), torch.randn(4, 3, dtype=torch.float64)
#: A function of samples by each operator, and its transposed copy: whose rows are not in one piece.
FUNCTIONS = {
    "norm_penalty": lambda x: ops.norm_penalty(x)[0],
    "transposed": lambda x: ops.norm_penalty(x.t())[0],
    "interpolate": lambda x: ops.interpolate(x, OTHER, FACTORS).square().sum(),
    "random_interpolate": lambda x: ops.random_interpolate(x, OTHER, SEED).square().sum(),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.filterwarnings("error:.*performance drop")
def test_transforms_of_torch_func(function):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    value = function(x)
    (gradient,) = torch.autograd.grad(value, x)
    x = x.detach()
    torch.testing.assert_close(torch.func.grad(function)(x), gradient)
    torch.testing.assert_close(torch.func.jacfwd(function)(x), gradient)
    two = torch.stack([x, 2 * x])
    torch.testing.assert_close(torch.func.vmap(function)(two)[0], value.detach())
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(function))(two)[0], gradient)


@pytest.mark.parametrize("double_backward", ["pruned", "plain"])
def test_a_vectorised_backward_pass(double_backward):
    """Of the penalties of all samples at once, as torch.autograd.functional.jacobian does."""
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1))
    each = fast_gradient_penalty(
        critic, *torch.randn(2, 4, 3), reduction="none", double_backward=double_backward
    )
    weight = critic[0].weight
    (rows,) = torch.autograd.grad(
        each, weight, torch.eye(4), is_grads_batched=True, retain_graph=True
    )
    for row, penalty in zip(rows, each, strict=True):
        torch.testing.assert_close(row, *torch.autograd.grad(penalty, weight, retain_graph=True))
