"""Nothing is lost where squares leave the range of the dtype, and what is not finite is seen."""

from __future__ import annotations

import math

import pytest
import torch

from tests.ops.backends import BACKENDS
from tests.ops.compare import as_tuple, check_operator
from tests.ops.layouts import DTYPES
from tests.ops.operators.norm_penalty import norms_of
from wgan_fast.ops import REGISTRY

inf, nan = math.inf, math.nan
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])

#: All kinds of entries that a row of gradients can be made of.
MAGNITUDES = {
    torch.float64: [1.0, 1e-30, 1e30, 1e-160, 1e-200, 1e-308, 5e-324, 1e-310, 1e150, 1e160, 1e200],
    torch.float32: [1.0, 1e-19, 1e-23, 1e-30, 1e-38, 1e-45, 1e-40, 1e18, 1e19, 1e30],
    torch.bfloat16: [1.0, 1e-19, 1e-23, 1e-30, 1e-38, 1e-40, 1e18, 1e19, 1e30],
    torch.float16: [1.0, 6e-8, 1e-6, 6e-5, 3e2, 3e4],
}
DIMS = [1, 2, 5, 33, 1000, 20000]
SETTINGS = [(0.0, False, 1.0, 1.0), (1.0, False, 2.0, 10.0), (1.0, True, 2.0, 10.0)]


def row_of(magnitude: float, dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Entries of one magnitude, none of them rounded to zero, with different signs."""
    row = (torch.rand(dim, dtype=torch.float64) + 1) * magnitude
    return (row * (1 - 2 * (torch.arange(dim) % 2))).to(dtype)


@each_backend
@each_dtype
@pytest.mark.parametrize("dim", DIMS)
def test_norms_of_every_magnitude(backend, dtype, dim):
    """Within the same bound as ordinary numbers, all in one batch."""
    rows = [row_of(magnitude, dim, dtype) for magnitude in MAGNITUDES[dtype]]
    rows += [torch.zeros(dim, dtype=dtype)]
    # One large entry among small ones, and one small entry among zeros.
    mixed = row_of(MAGNITUDES[dtype][1], dim, dtype)
    mixed[dim // 2] = MAGNITUDES[dtype][-1]
    lonely = torch.zeros(dim, dtype=dtype)
    lonely[-1] = MAGNITUDES[dtype][2]
    gradients = torch.stack([*rows, mixed, lonely])
    for settings in SETTINGS:
        label = f"dim {dim}, {dtype}, settings {settings}"
        check_operator(backend, "norm_penalty", (gradients, *settings, False), label)


@each_backend
@each_dtype
@pytest.mark.parametrize("dim", DIMS)
def test_gradients_of_every_magnitude(backend, dtype, dim):
    gradients = torch.stack([row_of(magnitude, dim, dtype) for magnitude in MAGNITUDES[dtype]])
    norms = norms_of(gradients)
    grad_penalty = torch.randn_like(norms)
    for grad_norms in (None, torch.randn_like(norms)):
        for settings in SETTINGS:
            args = (gradients, norms, grad_penalty, grad_norms, *settings, False)
            check_operator(backend, "norm_penalty_backward", args, f"dim {dim}, {settings}")


@each_backend
@each_dtype
def test_mixing_of_every_magnitude(backend, dtype):
    rows = [row_of(m, 37, dtype) for m in MAGNITUDES[dtype]]
    real, fake = torch.stack(rows), torch.stack(rows[::-1])
    for factor in (0.0, 0.3, 1.0):
        epsilon = torch.full((len(rows),), factor, dtype=norms_of(real).dtype)
        check_operator(backend, "interpolate", (real, fake, epsilon), f"epsilon {factor}")
        check_operator(backend, "interpolate_backward", (real, epsilon), f"epsilon {factor}")


@each_backend
@each_dtype
@pytest.mark.parametrize("dim", [1, 3, 32, 1000])
def test_mixing_at_the_end_of_the_range(backend, dtype, dim):
    """The difference of two samples does not fit in their dtype, and what lies between them does.

    Beside them are entries that fit, and those of which one is zero, or both are alike.
    """
    largest = torch.finfo(dtype).max
    ends = torch.tensor(
        [largest, -largest, largest / 2, -largest / 3, largest / 1.99, 1.0, 0.0],
        dtype=torch.float64,
    )
    pairs = torch.cartesian_prod(ends.to(dtype), ends.to(dtype)).T
    real, fake = (side.repeat(dim).reshape(dim, -1).T.contiguous() for side in pairs)
    for factors in (torch.linspace(0, 1, len(real)), *torch.tensor([[0.0], [0.5], [1.0]])):
        epsilon = factors.expand(len(real)).contiguous().to(norms_of(real).dtype)
        label = f"dim {dim}, {dtype}"
        check_operator(backend, "interpolate", (real, fake, epsilon), label)
        assert BACKENDS[backend]["interpolate"](real, fake, epsilon).isfinite().all()
    drawn = BACKENDS[backend]["random_interpolate"](real, fake, torch.tensor(3), 5)
    check_operator(backend, "random_interpolate", (real, fake, torch.tensor(3), 5), label)
    assert drawn.isfinite().all()


@each_backend
@each_dtype
@pytest.mark.parametrize("dim", DIMS)
def test_a_norm_of_zero_has_a_gradient_of_zero(backend, dtype, dim):
    gradients = torch.zeros(3, dim, dtype=dtype)
    gradients[1] = 1  # its neighbours are as they should be
    norms = norms_of(gradients)
    for target, one_sided, power in [(1.0, False, 2.0), (0.0, False, 1.0), (-1.0, True, 3.0)]:
        args = (gradients, norms, torch.ones_like(norms), torch.ones_like(norms))
        settings = (target, one_sided, power, 10.0, False)
        out = BACKENDS[backend]["norm_penalty_backward"](*args, *settings)
        assert torch.equal(out[0], torch.zeros_like(out[0]))
        assert torch.equal(out[2], torch.zeros_like(out[2]))
        assert (out[1] != 0).all()


@each_backend
@each_dtype
@pytest.mark.parametrize("dim", [2, 3, 4, 5, 31, 32, 33, 100, 20000])
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [((nan,), nan), ((inf,), inf), ((-inf,), inf), ((inf, nan), nan), ((nan, inf), nan)],
)
def test_what_is_not_finite_comes_through(backend, dtype, dim, place, entries, expected):
    """The norm and the penalty of that sample and their sum say so; other samples do not."""
    gradients = torch.ones(3, dim, dtype=dtype)
    start = 0 if place == "first" else dim - len(entries)
    gradients[1, start : start + len(entries)] = torch.tensor(entries, dtype=dtype)
    run = BACKENDS[backend]["norm_penalty"]
    same = {"rtol": 0, "atol": 0, "equal_nan": True}
    for one_sided in (False, True):
        penalty, norms = run(gradients, 1.0, one_sided, 2.0, 1.0, False)
        for result in (penalty, norms):
            torch.testing.assert_close(result[1].item(), expected, **same)
            assert torch.isfinite(result[[0, 2]]).all()
        total, _ = run(gradients, 1.0, one_sided, 2.0, 1.0, True)
        torch.testing.assert_close(total.item(), expected, **same)
    settings = (1.0, False, 2.0, 1.0, False)
    out = BACKENDS[backend]["norm_penalty_backward"](
        gradients, norms, torch.ones_like(norms), None, *settings
    )
    assert not torch.isfinite(out[1]).all()
    assert torch.isfinite(out[[0, 2]]).all()


@each_backend
@each_dtype
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_what_is_not_finite_is_mixed_in(backend, dtype, bad):
    """NaN and infinity in a sample, its partner or its epsilon reach the result in their place."""
    operators = BACKENDS[backend]
    clean = torch.ones(4, 33, dtype=dtype)
    dirty = clean.clone()
    dirty[1, 32] = bad
    half = torch.full((4,), 0.5, dtype=norms_of(clean).dtype)
    affected = ~torch.isfinite(dirty)
    for args in [(dirty, clean, half), (clean, dirty, half)]:
        result = operators["interpolate"](*args)
        assert torch.equal(~torch.isfinite(result), affected)
    for grad in operators["interpolate_backward"](dirty, half):
        assert torch.equal(~torch.isfinite(grad), affected)
    dirty_epsilon = half.clone()
    dirty_epsilon[2] = bad
    results = operators["interpolate"](2 * clean, clean, dirty_epsilon)
    for result in (results, *operators["interpolate_backward"](clean, dirty_epsilon)):
        assert not torch.isfinite(result[2]).any()
        assert torch.isfinite(result[[0, 1, 3]]).all()


@each_backend
def test_a_norm_too_large_for_float32_is_infinite(backend):
    gradients = torch.full((2, 100), 3e38)
    gradients[1] = 1
    penalty, norms = BACKENDS[backend]["norm_penalty"](gradients, 1.0, False, 2.0, 1.0, False)
    assert norms.tolist() == [inf, 10.0]
    assert penalty.tolist() == [inf, 81.0]


@each_backend
@pytest.mark.parametrize("name", [n for n in REGISTRY if "interpolate" in n])
def test_a_batch_without_elements(backend, name):
    """No samples, or samples without elements, are mixed into just that."""
    for shape in [(0,), (0, 5), (0, 3, 4), (3, 0), (2, 0, 4)]:
        for dtype in DTYPES:
            x = torch.ones(shape, dtype=dtype)
            epsilon = torch.ones(shape[0], dtype=norms_of(torch.ones(1, 1, dtype=dtype)).dtype)
            samples = (x,) if name.endswith("backward") else (x, x)
            drawn = (torch.tensor(1), 0) if name.startswith("random") else (epsilon,)
            for result in as_tuple(BACKENDS[backend][name](*samples, *drawn)):
                assert result.shape == x.shape
                assert result.dtype == dtype
