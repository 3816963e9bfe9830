"""activation_gradients: what the contract of the operators does not ask for."""

from __future__ import annotations

import functools
import math

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from tests.ops.backends import BACKENDS
from tests.ops.compare import as_tuple, check_close, same_bits
from tests.ops.operators.activation_gradients import ROUNDINGS, TEXTBOOK, gradients
from wgan_fast.ops import REGISTRY, activation_gradients
from wgan_fast.ops import _native as native
from wgan_fast.ops._activations import ACTIVATIONS

each_activation = pytest.mark.parametrize("name", ACTIVATIONS)
each_backend = pytest.mark.parametrize("backend", BACKENDS)
NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}"),
)
OF_INPUT = [name for name, activation in ACTIVATIONS.items() if not activation.of_output]


def test_every_activation_has_a_textbook():
    assert TEXTBOOK.keys() == ACTIVATIONS.keys()
    for name, activation in ACTIVATIONS.items():
        assert len(TEXTBOOK[name][1]) == len(activation.parameters) == len(activation.example)


def parameters_of(name: str) -> list[float]:
    return list(TEXTBOOK[name][1])


def derivatives(backend: str, x: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """f', f'' and f''' as the operators have them."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    first, second = BACKENDS[backend]["activation_gradients"](
        x, one, one, name, parameters_of(name)
    )
    third, _, _ = BACKENDS[backend]["activation_gradients_backward"](
        x, one, one, zero, one, name, parameters_of(name)
    )
    return first, second, third


def by_mpmath(name: str) -> object:
    """The activations themselves, to any precision: nothing here knows their derivatives."""
    exp, tanh, log = mpmath.exp, mpmath.tanh, mpmath.log
    sqrt_2, kappa, cubic = mpmath.sqrt(2), mpmath.sqrt(2 / mpmath.pi), mpmath.mpf("0.044715")
    p = [mpmath.mpf(each) for each in parameters_of(name)]
    return {
        "silu": lambda x: x / (1 + exp(-x)),
        "gelu": lambda x: x * mpmath.erfc(-x / sqrt_2) / 2,
        "gelu_tanh": lambda x: x / (1 + exp(-2 * kappa * (x + cubic * x**3))),
        "softplus": lambda x: log(1 + exp(p[0] * x)) / p[0] if p[0] * x <= p[1] else x,
        "elu": lambda x: p[1] * x if x > 0 else p[1] * p[0] * (exp(p[2] * x) - 1),
        "mish": lambda x: x * tanh(log(1 + exp(x))),
        "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
        "log_sigmoid": lambda x: -log(1 + exp(-x)),
        "softsign": lambda x: x / (1 + abs(x)),
    }[name]


#: Around 0, around the roots, and in the tails until long after everything is zero.
POINTS = [0.013, 1e-6, 0.7, 1.278, 2.4, 4.1, 7.7, 10.5, 14.2, 20.3, 38.4, 61.0, 88.5, 95.0, 103.2]
BEYOND = {torch.float32: [150.0, 1e10], torch.float64: [300.0, 690.0, 1e10]}


@functools.cache
def exact_derivatives(name: str, x: float) -> list[mpmath.mpf]:
    with mpmath.workdps(250):
        step = mpmath.mpf(10) ** -40
        return [mpmath.diff(by_mpmath(name), mpmath.mpf(x), n, h=step) for n in (1, 2, 3, 4)]


@each_backend
@pytest.mark.parametrize("name", OF_INPUT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tails(backend, name, dtype):
    """Within the bound of the textbook, subnormal results included, by derivatives of mpmath.

    float64 only where exp(-x) is normal: PyTorch's own functions, of which the reference is made,
    have no subnormal float64.
    """
    points = torch.tensor([*POINTS, *BEYOND[dtype]], dtype=dtype)
    x = torch.cat([points, -points])
    if backend == "reference" and dtype == torch.float64:
        x = x[x.abs() < 600 if name != "gelu" else x.abs() < 37]
    found = derivatives(backend, x, name)
    u, tiny = (
        torch.finfo(dtype).eps / 2,
        torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps,
    )
    for i, at in enumerate(x.tolist()):
        exact = exact_derivatives(name, at)
        for n in range(3):
            bound = ROUNDINGS * u * (abs(exact[n]) + abs(at * exact[n + 1])) + tiny
            error = abs(mpmath.mpf(found[n][i].item()) - exact[n])
            assert error <= bound, f"derivative {n + 1} of {name} at {at}"


@each_backend
@pytest.mark.parametrize("name", OF_INPUT)
def test_infinity_has_the_limits_and_nan_stays(backend, name):
    """The output of tanh and of sigmoid is never infinite."""
    x = torch.tensor([math.inf, -math.inf, math.nan, 1e30, -1e30])
    found = derivatives(backend, x, name)
    for derivative in found:
        assert derivative[[0, 1, 3, 4]].isfinite().all()
        assert torch.equal(derivative[:2], derivative[3:])
    if name != "hardswish":  # whose higher derivatives do not depend on x
        assert found[1][2].isnan()
    assert found[0][2].isnan()


@each_backend
@each_activation
def test_no_infinity_times_zero(backend, name):
    """A second derivative that is zero makes zero of any finite numbers.

    In float64, where the reference computes, it is not.
    """
    x = torch.full((3,), 200.0) if not ACTIVATIONS[name].of_output else torch.full((3,), 0.5)
    huge = torch.full((3,), torch.finfo(torch.float32).max)
    _, second, _ = derivatives(backend, x, name)
    _, of_x = BACKENDS[backend]["activation_gradients"](x, huge, huge, name, parameters_of(name))
    assert not of_x.isnan().any()
    if backend != "reference":
        assert torch.equal(of_x == 0, second == 0)


@pytest.mark.parametrize("backend", ["reference", NATIVE])
@each_activation
def test_gradients_to_the_third_order(backend, name):
    """The operator's own two orders, and one more, which PyTorch makes of the formulas."""
    x, grad, tangent = torch.randn(3, 2, 5, dtype=torch.float64)
    inputs = [tensor.clone().requires_grad_() for tensor in (x, grad, tangent)]

    def run(*tensors):
        return activation_gradients(*tensors, name, parameters_of(name), backend=backend)

    assert gradcheck(run, inputs)
    assert gradgradcheck(run, inputs)


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "softplus", "mish", "log_sigmoid"])
def test_the_formulas_are_differentiated_at_zero_as_elsewhere(name):
    """Where they are put together from two sides, which a function like abs() does not do."""
    activation = ACTIVATIONS[name]
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    first, second, third = activation.derivatives(x, *activation.example)
    for value, derivative in ((first, second), (second, third)):
        (found,) = torch.autograd.grad(value, x, retain_graph=True)
        # Some twenty operations, each rounded by 2e-16 of numbers of about 1; zero where odd.
        torch.testing.assert_close(found, derivative.detach(), rtol=1e-14, atol=1e-15)


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@each_activation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_an_element_does_not_depend_on_where_it_lies(name, dtype):
    """Neither on its place in a vector register, nor on being one of the last."""
    tensors = torch.randn(3, 1031, dtype=torch.float64).mul(3).to(dtype)
    whole = activation_gradients(*tensors, name, parameters_of(name), backend="native")
    for begin, end in ((1, 1031), (5, 12), (1000, 1001), (3, 700)):
        part = activation_gradients(*tensors[:, begin:end], name, parameters_of(name))
        assert same_bits(part, tuple(result[begin:end] for result in whole))


LAYOUTS = {
    "scalar": lambda: torch.randn(()),
    "nothing": lambda: torch.randn(0, 3),
    "expanded": lambda: torch.randn(4, 1, 3).expand(4, 5, 3),
    "transposed": lambda: torch.randn(5, 4, 3).permute(2, 0, 1),
    "scattered": lambda: torch.randn(4, 6, 8)[:, ::2, ::3],
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "part of another": lambda: torch.randn(7, 9)[1:, 2:],
    "reversed": lambda: torch.randn(3, 4).flip(1),
}


@pytest.mark.parametrize("backend", ["reference", NATIVE])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_any_layout(backend, layout, other):
    x = LAYOUTS[layout]()
    grad = LAYOUTS[other]()
    grad = grad if grad.shape == x.shape else torch.randn(()).expand(x.shape)
    tangent = torch.randn(x.shape)
    results = activation_gradients(x, grad, tangent, "mish", backend=backend)
    for result, expected in zip(results, gradients(x, grad, tangent, "mish", []), strict=True):
        check_close(result, expected, f"{layout}, {other}")
        if layout in ("transposed", "channels last"):
            assert result.stride() == x.stride()
        else:
            assert result.is_contiguous()


def test_what_is_refused():
    x = torch.randn(2, 3)
    with pytest.raises(TypeError, match=r"^tangent must be a tensor \[\*\], but it is 1"):
        activation_gradients(x, x, 1, "silu")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^grad must be a dense tensor"):
        activation_gradients(x, x.to_sparse(), x, "silu")
    with pytest.raises(ValueError, match=r"^activation must be one of 'silu', .*'relu'"):
        activation_gradients(x, x, x, "relu")
    for wrong in ([], [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"^parameters of 'softplus' must be 2 \(beta and thr"):
            activation_gradients(x, x, x, "softplus", wrong)
    with pytest.raises(ValueError, match=r"^parameters of 'silu' must be 0 \(none\), but there"):
        activation_gradients(x, x, x, "silu", [1.0])
    for value in ("1", None, True, torch.ones(())):
        with pytest.raises(TypeError, match=r"^parameters must be numbers, but one of them is"):
            activation_gradients(x, x, x, "softplus", [1.0, value])
    with pytest.raises(ValueError, match=r"^backend must be one of"):
        activation_gradients(x, x, x, "silu", backend="cuda")


@each_backend
@pytest.mark.parametrize("name", ["activation_gradients", "activation_gradients_backward"])
def test_what_every_backend_refuses(backend, name):
    run = BACKENDS[backend][name]
    count = 3 if name == "activation_gradients" else 5
    x = torch.randn(4, 6)
    for position in range(1, count):
        for wrong, words in [
            (x[:3], r"shape, but they have \[4, 6\] and \[3, 6\]$"),
            (x[:, ::2], r"shape, but they have \[4, 6\] and \[4, 3\]$"),
            (x.double(), r"dtype, but they have torch\.float32 and torch\.float64; convert"),
            (torch.randn(6, 4).t(), r"strides, but they have \[6, 1\] and \[1, 4\]; call"),
        ]:
            others = [x] * count
            others[position] = wrong
            with pytest.raises(RuntimeError, match=f"must have the same {words}"):
                run(*others, "silu", [])
    scattered = torch.randn(4, 12)[:, ::2]
    with pytest.raises(RuntimeError, match=r"x must be one dense piece of memory; call"):
        run(*[scattered] * count, "silu", [])
    for dtype in (torch.int32, torch.complex64):
        with pytest.raises(RuntimeError, match="must be float64, float32, float16 or bfloat16"):
            run(*[x.to(dtype)] * count, "silu", [])
    for activation, parameters in (("relu", []), ("silu", [1.0]), ("elu", [1.0, 2.0])):
        with pytest.raises((RuntimeError, ValueError), match=activation):
            run(*[x] * count, activation, parameters)


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@each_activation
def test_subnormal_results_are_flushed_only_where_that_was_asked_for(name):
    """torch.set_flush_denormal may turn subnormal float32 off; nothing else changes then."""
    x = torch.randn(257)
    args = (x, torch.ones(257), torch.ones(257), name, parameters_of(name))
    kept = REGISTRY["activation_gradients"].overload(*args)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        flushed = REGISTRY["activation_gradients"].overload(*args)
    finally:
        torch.set_flush_denormal(False)
    assert same_bits(as_tuple(kept), as_tuple(flushed))
