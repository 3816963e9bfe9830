"""The mixing factors that fast_gradient_penalty draws."""

import pytest
import torch

from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import _native as native


def drawn(batch=50, dtype=torch.float32, seed=3, **arguments):
    """The mixing factors of one call: where each interpolate lies between 0 (fake) and 1 (real)."""
    seen = []

    def critic(x):
        seen.append(x.detach())
        return (x**2).sum(1)

    torch.manual_seed(seed)
    shape = (batch, 4)
    fast_gradient_penalty(
        critic, torch.ones(shape, dtype=dtype), torch.zeros(shape, dtype=dtype), **arguments
    )
    points = torch.cat(seen)
    assert (points == points[:, :1]).all()  # one factor for the whole sample
    return points[:, 0]


def test_one_uniform_factor_for_each_sample(backend):
    epsilon = drawn(20_000, backend=backend)
    assert ((epsilon >= 0) & (epsilon < 1)).all()
    assert len(epsilon.unique()) > 19_900
    # the mean of n uniform numbers strays by sqrt(1 / 12 n); five times that
    assert abs(epsilon.mean() - 0.5) < 5 * (12 * 20_000) ** -0.5
    tenths = torch.histc(epsilon, bins=10, min=0, max=1)
    assert (tenths - 2000).abs().max() < 5 * (20_000 * 0.1 * 0.9) ** 0.5


def test_manual_seed_governs_the_draw(backend):
    assert torch.equal(drawn(seed=3, backend=backend), drawn(seed=3, backend=backend))
    assert not torch.equal(drawn(seed=3, backend=backend), drawn(seed=4, backend=backend))


def test_every_call_draws_anew():
    generator = torch.Generator().manual_seed(5)
    first, second = (drawn(generator=generator) for _ in range(2))
    assert (first != second).all()


def test_given_generator_governs_the_draw():
    first, second = (
        drawn(seed=seed, generator=torch.Generator().manual_seed(11)) for seed in (1, 2)
    )
    assert torch.equal(first, second)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn(seed=3, generator=torch.Generator().manual_seed(11))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_draw_takes_one_number_from_the_generator(chunk_size, backend):
    """Whatever the batch and its dtype, so that the rest of a program does not depend on them.

    Plain PyTorch draws the factors themselves, as ``torch.rand`` does.
    """
    for batch, dtype in [(1, torch.float32), (50, torch.float64)]:
        generator = torch.Generator().manual_seed(0)
        if backend == "pytorch":
            torch.rand(batch, generator=generator)
        else:
            torch.randint(2**63 - 1, (), generator=generator)
        used = torch.Generator().manual_seed(0)
        drawn(batch, dtype, generator=used, chunk_size=chunk_size, backend=backend)
        assert torch.equal(used.get_state(), generator.get_state())


def test_given_epsilon_draws_nothing():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    epsilon = torch.linspace(0, 1, 50)
    assert torch.equal(drawn(seed=3, epsilon=epsilon), epsilon)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_dtype_draws_the_same(dtype, backend):
    assert torch.equal(drawn(dtype=dtype, backend=backend), drawn(backend=backend).to(dtype))


def test_a_batch_draws_what_a_larger_one_begins_with():
    assert torch.equal(drawn(17), drawn(50)[:17])


@pytest.mark.parametrize("chunk_size", [1, 7, 50, 99])
def test_slices_draw_what_the_whole_does(chunk_size, backend):
    assert torch.equal(drawn(chunk_size=chunk_size, backend=backend), drawn(backend=backend))


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_the_kernels_draw_what_the_reference_does():
    assert torch.equal(drawn(backend="reference"), drawn(backend="native"))
    assert torch.equal(drawn(backend="reference"), drawn(backend="auto"))


def test_plain_pytorch_draws_by_rand():
    torch.manual_seed(3)
    expected = torch.rand(50)
    assert torch.equal(drawn(backend="pytorch", seed=3), expected)
