"""The public functions can be differentiated once, twice and on, with the right results."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tests.ops.compare import same_bits
from tests.ops.layouts import DTYPES, LAYOUTS, away_from_kinks
from wgan_fast.ops import _native as native
from wgan_fast.ops import drawn_epsilon, interpolate, norm_penalty, random_interpolate

SHAPES = [(3,), (4, 1), (2, 5), (2, 3, 2, 2)]
NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}"),
)
each_backend = pytest.mark.parametrize("backend", ["reference", NATIVE])


def leaf(x: torch.Tensor) -> torch.Tensor:
    """The same values in the same layout, to be differentiated by."""
    return x.detach().requires_grad_()


def without_overlap(x: torch.Tensor) -> torch.Tensor:
    """Itself, unless two elements share memory, which a leaf must not do."""
    return x.clone() if x.stride(0) < x[0].numel() else x


@each_backend
@pytest.mark.parametrize("shape", SHAPES)
def test_interpolate(backend, shape):
    for layout in LAYOUTS:
        real = leaf(without_overlap(layout(shape, torch.float64)))
        fake = leaf(torch.randn(shape, dtype=torch.float64))
        epsilon = leaf(torch.rand(shape[0], dtype=torch.float64))

        def run(real, fake, epsilon):
            return interpolate(real, fake, epsilon, backend=backend)

        assert gradcheck(run, (real, fake, epsilon))
        assert gradgradcheck(run, (real, fake, epsilon))


@each_backend
@pytest.mark.parametrize("shape", SHAPES)
def test_random_interpolate(backend, shape):
    seed = torch.tensor(3)
    for layout in LAYOUTS:
        real = leaf(without_overlap(layout(shape, torch.float64)))
        fake = leaf(torch.randn(shape, dtype=torch.float64))

        def run(real, fake):
            return random_interpolate(real, fake, seed, 5, backend=backend)

        assert gradcheck(run, (real, fake))
        assert gradgradcheck(run, (real, fake))


PENALTIES = [
    {"target": 1.0},
    {"target": 1.0, "one_sided": True, "scale": 10.0},
    {"target": 0.0, "reduce": False},
    {"target": 0.3, "power": 3.0, "reduce": False},
    {"target": 0.3, "power": 1.0},
    {"target": 0.0, "power": 6.0},
]


@each_backend
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settings", PENALTIES, ids=str)
def test_norm_penalty(backend, shape, settings):
    """Both results, at norms that are not at a kink: 0, or the target of a one-sided penalty."""
    for layout in LAYOUTS:
        gradients = leaf(away_from_kinks(layout(shape, torch.float64)))

        def run(gradients):
            return norm_penalty(gradients, **settings, backend=backend)

        assert gradcheck(run, (gradients,))
        assert gradgradcheck(run, (gradients,))


@each_backend
def test_third_derivatives(backend):
    """Plain PyTorch takes over from the second derivative on: one more must work as well."""

    def slope(gradients):
        penalty, norms = norm_penalty(gradients, power=3.0, backend=backend)
        return torch.autograd.grad(penalty + norms.sum(), gradients, create_graph=True)[0]

    gradients = leaf(torch.randn(3, 4, dtype=torch.float64))
    assert gradgradcheck(slope, (gradients,))

    def mixing_slope(real, fake, epsilon):
        mixed = interpolate(real, fake, epsilon, backend=backend)
        inputs = (real, fake, epsilon)
        return torch.autograd.grad((mixed**3).sum(), inputs, create_graph=True)

    inputs = [leaf(torch.rand(shape, dtype=torch.float64)) for shape in [(3, 4), (3, 4), (3,)]]
    assert gradgradcheck(mixing_slope, inputs)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("power", [2.0, 3.0])
def test_gradients_of_zero_norms_are_zero_twice(backend, dtype, target, one_sided, power):
    """Where PyTorch's sqrt would say NaN: the first derivative, and the second in any direction."""
    gradients = torch.zeros(3, 5, dtype=dtype)
    gradients[1] = 2
    gradients.requires_grad_()
    settings = {"target": target, "one_sided": one_sided, "power": power, "backend": backend}
    penalty, norms = norm_penalty(gradients, **settings)
    (first,) = torch.autograd.grad(penalty + norms.sum(), gradients, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.randn_like(first)).sum(), gradients)
    for derivative in (first, second):
        assert torch.isfinite(derivative).all()
        assert torch.equal(derivative[[0, 2]], torch.zeros_like(derivative[[0, 2]]))
        assert (derivative[1] != 0).any()


@each_backend
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_only_what_is_asked_for(backend, dtype):
    """Gradients arrive where they are required, in the dtype of what they belong to."""
    real, fake = torch.randn(2, 4, 3).to(dtype)
    epsilon = drawn_epsilon(real, torch.tensor(0))
    for required in [(0,), (1,), (2,), (0, 2), (0, 1, 2)]:
        inputs = [real.clone(), fake.clone(), epsilon.clone()]
        for i in required:
            inputs[i].requires_grad_()
        interpolate(*inputs, backend=backend).sum().backward()
        for i, x in enumerate(inputs):
            assert (x.grad is not None) == (i in required)
            assert x.grad is None or x.grad.dtype == x.dtype
    assert not interpolate(real, fake, epsilon, backend=backend).requires_grad
    with torch.no_grad():
        assert not norm_penalty(real.requires_grad_(), backend=backend)[0].requires_grad


@each_backend
def test_the_norms_alone_and_the_penalty_alone(backend):
    gradients = leaf(torch.randn(4, 7, dtype=torch.float64))
    for reduce in (True, False):
        penalty, norms = norm_penalty(gradients, scale=3.0, reduce=reduce, backend=backend)
        expected = torch.linalg.vector_norm(gradients, dim=1)
        for result, value in [(norms, expected), (penalty, 3 * (expected - 1) ** 2)]:
            (actual,) = torch.autograd.grad(result.sum(), gradients, retain_graph=True)
            (wanted,) = torch.autograd.grad(value.sum(), gradients, retain_graph=True)
            torch.testing.assert_close(actual, wanted, rtol=1e-13, atol=1e-15)


@each_backend
def test_gradients_of_any_layout_are_taken(backend):
    """What arrives from behind may be expanded, transposed or scattered."""
    real, fake = (leaf(torch.randn(4, 3, 2)) for _ in range(2))
    epsilon = torch.rand(4)
    for grad in [
        torch.ones(()).expand(4, 3, 2),
        torch.randn(4, 2, 3).transpose(1, 2),
        torch.randn(4, 3, 4)[..., ::2],
    ]:
        mixed = interpolate(real, fake, epsilon, backend=backend)
        to_real, to_fake = torch.autograd.grad(mixed, (real, fake), grad)
        assert same_bits(to_real, epsilon.view(4, 1, 1) * grad)
        assert same_bits(to_fake, (1 - epsilon).view(4, 1, 1) * grad)
    gradients = leaf(torch.randn(4, 3, 2))
    penalty, norms = norm_penalty(gradients, reduce=False, backend=backend)
    torch.autograd.backward((penalty, norms), (torch.ones(1).expand(4), torch.ones(8)[::2]))
    assert torch.isfinite(gradients.grad).all()


@each_backend
@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 2, 3), (3, 0)], ids=str)
def test_epsilon_of_nothing(backend, shape):
    real, fake = (leaf(torch.ones(shape)) for _ in range(2))
    epsilon = leaf(torch.rand(shape[0]))
    interpolate(real, fake, epsilon, backend=backend).sum().backward()
    assert torch.equal(epsilon.grad, torch.zeros(shape[0]))
    assert real.grad.shape == fake.grad.shape == shape
