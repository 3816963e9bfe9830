"""The CUDA kernels, executed on the simulated GPU, against the reference in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from simt.backend import SimulatedGpu
from simt.build import load
from wgan_fast.ops._op import REGISTRY

from .cases import ALL, DTYPES, LONG, MIDDLING, TINY, Case

pytestmark = pytest.mark.simt("plain")

SEED = torch.tensor(-(2**62) + 12345)
WGAN_GP = (1.0, False, 2.0, 10.0)
SETTINGS: list[tuple[float, bool, float, float]] = [
    WGAN_GP,
    (1.0, True, 2.0, 0.5),
    (0.0, False, 2.0, 1.0),
    (0.5, False, 6.0, 2.0),
]
#: Of the result, relative to the largest entry: a few roundings in the type of the computation.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6}
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
SUBNORMAL_ROUNDING = {torch.float16: 2.0**-25}  # absolute


def in_float64(name: str, *args: object) -> tuple[Tensor, ...]:
    """The reference, with every floating tensor in float64."""

    def widen(x: object) -> object:
        return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x

    result = REGISTRY[name].reference(*map(widen, args))
    return result if isinstance(result, tuple) else (result,)


def check(got: Tensor | tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for g, w in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
        assert g.isfinite().all()
        tolerance = TOLERANCE[torch.float64 if g.dtype == torch.float64 else torch.float32]
        tolerance += ROUNDING.get(g.dtype, 0)
        atol = tolerance * w.abs().max().item() + SUBNORMAL_ROUNDING.get(g.dtype, 0)
        torch.testing.assert_close(g.double(), w, rtol=tolerance, atol=atol, check_stride=False)


def gpu_for(case: Case) -> SimulatedGpu:
    return SimulatedGpu(max_blocks=case.max_blocks, seed_on_device=case.dim % 2 == 0)


@pytest.fixture(params=[0, 1, 7], ids=["forward", "reverse", "random"])
def order(request: pytest.FixtureRequest) -> Iterator[int]:
    load("plain").set_order(request.param)
    yield request.param
    load("plain").set_order(0)


def rounding(norms: Tensor) -> float:
    """The relative error of a norm whose squares are summed in a tree: a few roundings of each of
    its levels, in the dtype that the kernel computes in. Far below that of a sum in sequence."""
    return 8 * torch.finfo(norms.dtype).eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_interpolate(case: Case, dtype: torch.dtype) -> None:
    gpu = gpu_for(case)
    real, fake = case.batch_of(dtype, seed=1), case.batch_of(dtype, seed=2)
    epsilon = torch.rand(case.batch, dtype=torch.float64 if dtype == torch.float64 else None)
    check(gpu.interpolate(real, fake, epsilon), in_float64("interpolate", real, fake, epsilon))
    check(
        gpu.random_interpolate(real, fake, SEED, 2**33),
        in_float64("random_interpolate", real, fake, SEED, 2**33),
    )
    # Inputs that are misaligned in different ways.
    other = Case(case.batch, case.dim, case.shift + 1, case.gap + 1).batch_of(dtype, seed=2)
    same = gpu.interpolate(real, fake, epsilon)
    assert torch.equal(gpu.interpolate(real, other, epsilon), same)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_interpolate_backward(case: Case, dtype: torch.dtype) -> None:
    gpu = gpu_for(case)
    grad = case.batch_of(dtype)
    epsilon = torch.rand(case.batch, dtype=torch.float64 if dtype == torch.float64 else None)
    check(
        gpu.interpolate_backward(grad, epsilon), in_float64("interpolate_backward", grad, epsilon)
    )
    check(
        gpu.random_interpolate_backward(grad, SEED, 5),
        in_float64("random_interpolate_backward", grad, SEED, 5),
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_norm_penalty(case: Case, dtype: torch.dtype) -> None:
    gpu = gpu_for(case)
    gradients = case.batch_of(dtype)
    for settings in SETTINGS:
        for reduce in (True, False):
            got = gpu.norm_penalty(gradients, *settings, reduce)
            check(got, in_float64("norm_penalty", gradients, *settings, reduce))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_norm_penalty_backward(case: Case, dtype: torch.dtype) -> None:
    gpu = gpu_for(case)
    # Norms near 1, so that the results stay inside the range of float16 whatever the power.
    gradients = case.batch_of(dtype).div_(case.dim**0.5)
    _, norms = gpu.norm_penalty(gradients, *WGAN_GP, True)
    for settings in SETTINGS:
        for reduce in (True, False):
            grad_penalty = torch.rand(() if reduce else (case.batch,), dtype=norms.dtype)
            for grad_norms in (None, torch.rand_like(norms)):
                tensors = (gradients, norms, grad_penalty, grad_norms)
                got = gpu.norm_penalty_backward(*tensors, *settings, reduce)
                check(got, in_float64("norm_penalty_backward", *tensors, *settings, reduce))


@pytest.mark.parametrize("shift", [1, 2, 3, 5])
def test_misaligned_outputs(shift: int) -> None:
    gpu, aligned = SimulatedGpu(shift=shift), SimulatedGpu()
    x, epsilon = Case(3, 37).batch_of(torch.float16), torch.rand(3)
    for g, w in zip(
        gpu.interpolate_backward(x, epsilon), aligned.interpolate_backward(x, epsilon), strict=True
    ):
        assert torch.equal(g, w)
    assert torch.equal(gpu.interpolate(x, x, epsilon), aligned.interpolate(x, x, epsilon))


@pytest.mark.parametrize("case", [TINY[3], MIDDLING[2], LONG[1], Case(300, 40)], ids=str)
def test_order_of_threads_does_not_matter(case: Case, order: int) -> None:
    gpu = SimulatedGpu(max_blocks=3)
    x, y = case.batch_of(torch.float32, seed=1), case.batch_of(torch.float32, seed=2)
    results = []
    for each in (0, order):
        gpu.module.set_order(each)
        penalty, norms = gpu.norm_penalty(x, *WGAN_GP, True)
        grad = gpu.norm_penalty_backward(x, norms, penalty, norms, *WGAN_GP, True)
        mixed = gpu.random_interpolate(x, y, SEED, 0)
        results.append((penalty, norms, grad, mixed))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_layouts_other_than_contiguous() -> None:
    gpu = SimulatedGpu()
    image = torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last)
    epsilon = torch.rand(3)
    mixed = gpu.interpolate(image, 2 * image, epsilon)
    assert mixed.stride() == image.stride()
    check(mixed, in_float64("interpolate", image, 2 * image, epsilon))
    repeated = torch.randn(1, 50).expand(4, 50)  # rows at distance 0
    penalty = gpu.norm_penalty(repeated, *WGAN_GP, True)
    check(penalty, in_float64("norm_penalty", repeated, *WGAN_GP, True))


RANGE = {
    torch.float32: (1e-30, 1e30),
    torch.bfloat16: (1e-30, 1e30),
    torch.float64: (1e-200, 1e200),
    torch.float16: (6e-8, 60000.0),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [Case(40, 3), Case(5, 40), *MIDDLING[:3], *LONG[:3]], ids=str)
def test_squares_out_of_range(case: Case, dtype: torch.dtype) -> None:
    gpu = SimulatedGpu()
    ordinary = case.batch_of(dtype)
    for factor in RANGE[dtype]:
        gradients = ordinary.clone()
        gradients[::2] = factor  # beside rows that are fine
        want = gradients.double().norm(dim=1)
        if dtype == torch.float64:
            want[::2] = factor * case.dim**0.5
        _, norms = gpu.norm_penalty(gradients, *WGAN_GP, False)
        torch.testing.assert_close(norms.double(), want, rtol=rounding(norms), atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [Case(6, 3), Case(3, 40), *MIDDLING[:2], *LONG[:2]], ids=str)
def test_zero_infinity_and_nan_come_through(case: Case, dtype: torch.dtype) -> None:
    gpu = SimulatedGpu()
    for special in (0.0, torch.inf, -torch.inf, torch.nan):
        gradients = case.batch_of(dtype)
        if special == 0.0:
            gradients[0] = 0.0
        gradients[0, case.dim // 2] = special
        _, norms = gpu.norm_penalty(gradients, *WGAN_GP, True)
        want = gradients.double().norm(dim=1)
        torch.testing.assert_close(
            norms.double(), want, rtol=rounding(norms), atol=0, equal_nan=True
        )
        if special == 0.0:
            one = torch.ones((), dtype=norms.dtype)
            grad = gpu.norm_penalty_backward(gradients, norms, one, None, *WGAN_GP, True)
            assert (grad[0] == 0).all()
            assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [Case(6, 3), Case(3, 40), *MIDDLING[:2], *LONG[:2]], ids=str)
def test_nan_wins(case: Case, dtype: torch.dtype) -> None:
    gpu = SimulatedGpu()
    for rest in (torch.nan, torch.inf):
        gradients = case.batch_of(dtype)
        gradients[0] = rest
        gradients[0, -1] = torch.nan
        _, norms = gpu.norm_penalty(gradients, *WGAN_GP, True)
        assert norms[0].isnan()
        assert norms[1:].isfinite().all()


def test_a_norm_without_an_inverse_still_has_a_direction() -> None:
    gpu = SimulatedGpu()
    gradients = torch.full((2, 4), 1e-40)
    _, norms = gpu.norm_penalty(gradients, *WGAN_GP, True)
    grad = gpu.norm_penalty_backward(gradients, norms, torch.ones(()), None, *WGAN_GP, True)
    # Near 1e-40 floats are 1.4e-45 apart, a share of 1.4e-5 in the gradient and in the norm.
    torch.testing.assert_close(grad, torch.full_like(grad, -10.0), rtol=3e-5, atol=0)


def test_the_seed_is_read_at_every_launch() -> None:
    gpu = SimulatedGpu(seed_on_device=True)
    real, fake = torch.ones(8, 3), torch.zeros(8, 3)
    seed = torch.tensor(1)
    first = gpu.random_interpolate(real, fake, seed, 0)
    seed += 1
    second = gpu.random_interpolate(real, fake, seed, 0)
    assert not torch.equal(first, second)
    by_value = SimulatedGpu().random_interpolate(real, fake, torch.tensor(2), 0)
    assert torch.equal(second, by_value)
