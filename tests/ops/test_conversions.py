"""float16 and bfloat16 to float32 and back: every bit pattern, every kind of rounding.

The kernels convert with integer arithmetic of their own; PyTorch's conversions are the standard
that they are held to, bit for bit.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops.backends import BACKENDS
from tests.ops.compare import bits

HALVES = [torch.float16, torch.bfloat16]
each = pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: str(dtype)[6:])
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def every_pattern(dtype: torch.dtype) -> Tensor:
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def neighbours_of_every_boundary(dtype: torch.dtype) -> Tensor:
    """In float32: every value of ``dtype``, what lies halfway to the next one, and just beside."""
    values = every_pattern(dtype).float()
    values = values[torch.isfinite(values)].sort().values
    halfway = ((values[1:].double() + values[:-1].double()) / 2).float()
    limit = torch.finfo(dtype).max
    beyond = torch.tensor([limit * (1 + torch.finfo(dtype).eps / 4), 3.4e38, torch.inf, torch.nan])
    exact = torch.cat([values, halfway, beyond, -beyond])
    up, down = (torch.nextafter(exact, torch.tensor(side * torch.inf)) for side in (1, -1))
    return torch.cat([exact, up, down])


def random_floats(count: int) -> Tensor:
    """Any bit pattern: all magnitudes, subnormal ones, NaNs and infinities."""
    return (
        torch.randint(-(2**31), 2**31, (count,), dtype=torch.int64)
        .to(torch.int32)
        .view(torch.float32)
    )


def check_same(actual: Tensor, expected: Tensor) -> None:
    """Bit for bit; one NaN is as good as another."""
    both_nan = actual.isnan() & expected.isnan()
    wrong = (bits(actual) != bits(expected)) & ~both_nan
    assert not wrong.any(), f"{actual[wrong][:5]} instead of {expected[wrong][:5]}"


def narrowed(backend: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 values rounded by a kernel: as the factors of samples that are 1."""
    ones = torch.ones(len(values), 1, dtype=dtype)
    return BACKENDS[backend]["interpolate_backward"](ones, values)[0].flatten()


@each_backend
@each
def test_every_value_survives_the_way_there_and_back(backend, dtype):
    """Through all kernels that return samples, in rows long enough for vector registers."""
    operators = BACKENDS[backend]
    values = every_pattern(dtype)
    finite = values.isfinite()
    one = torch.ones(1)
    row = values.unsqueeze(0)
    check_same(operators["interpolate_backward"](row, one)[0][0], values)
    # 0 * (x - x) + x loses the sign of zero, and nothing else.
    mixed = operators["interpolate"](row, row, 0 * one)[0]
    check_same(mixed[finite] + 0, values[finite] + 0)
    assert torch.equal(mixed.isnan(), ~finite)
    # With a slope of 1 and a norm of 1, norm_penalty's backward is the identity.
    settings = (0.0, False, 2.0, 1.0, True)
    slopes = operators["norm_penalty_backward"](row, one, torch.zeros(()), one, *settings)
    check_same(slopes[0], values)


@each_backend
@each
def test_every_value_squared(backend, dtype):
    """Each on its own, its norm is its magnitude: what is widened wrongly shows up alone."""
    values = every_pattern(dtype)
    norms = BACKENDS[backend]["norm_penalty"](values.unsqueeze(1), 0.0, False, 2.0, 1.0, True)[1]
    check_same(norms, values.float().abs())


@each_backend
@each
def test_rounding_at_every_boundary(backend, dtype):
    values = neighbours_of_every_boundary(dtype)
    check_same(narrowed(backend, values, dtype), values.to(dtype))


@each_backend
@each
def test_rounding_of_any_float(backend, dtype):
    values = random_floats(2**18 if backend == "simulated" else 2**21)
    check_same(narrowed(backend, values, dtype), values.to(dtype))


@each_backend
@each
def test_rounding_in_vector_registers(backend, dtype):
    """The same in long rows: every value times factors that leave no bit of the product zero."""
    values = every_pattern(dtype)
    factors = torch.rand(8) * torch.tensor([1.0, 1e-3, 1e-5, 1e-8, 3.0, 1e5, 1e20, 1e-38])
    actual = BACKENDS[backend]["interpolate_backward"](values.expand(8, -1), factors)[0]
    check_same(actual, (values.float() * factors.unsqueeze(1)).to(dtype))


@each_backend
@each
def test_subnormal_halves_where_subnormal_floats_are_flushed(backend, dtype):
    """torch.set_flush_denormal concerns float32: float16 below 6e-5 must not vanish with it."""
    if dtype == torch.bfloat16:
        values = every_pattern(dtype)  # its subnormals are those of float32: flushed, or kept
        values = values[values.float().abs() >= torch.finfo(torch.float32).smallest_normal]
    else:
        values = every_pattern(dtype)
    values = values[values.isfinite()]
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        there_and_back = BACKENDS[backend]["interpolate_backward"](
            values.unsqueeze(0), torch.ones(1)
        )[0][0]
    finally:
        torch.set_flush_denormal(False)
    check_same(there_and_back, values)
