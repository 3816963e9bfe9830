"""The random numbers are Philox4x32-10, uniform, and the same bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.backends import BACKENDS
from tests.ops.compare import same_bits
from tests.ops.layouts import DTYPES
from tests.ops.operators import interpolate as textbook
from wgan_fast.ops import drawn_epsilon, random_interpolate
from wgan_fast.ops.philox import philox4x32_10, uniform_epsilon

#: counter, key, result: "philox4x32 10" in tests/kat_vectors of Random123, its authors' library.
#: The compiled generator is held to the same three in tests/native.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
SEEDS = [0, 1, -1, 2**32 - 1, 2**32, -(2**32), 2**63 - 1, -(2**63), 0x5DEECE66D]
FIRST_SAMPLES = [0, 1, 2**24, 2**32 - 2, 2**32, 2**40 + 17, 2**62]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS, ids=["zeros", "ones", "pi"])
def test_known_answers(counter, key, expected):
    counters = torch.tensor(words(counter)).unsqueeze(1).expand(4, 3)
    result = philox4x32_10(counters, torch.tensor(words(key)))
    assert result.T.tolist() == [words(expected)] * 3
    result = textbook.philox4x32_10(words(counter), words(key))
    assert [int(word[0]) for word in result] == words(expected)


def epsilon_of(backend: str, seed: int, first_sample: int, batch: int, dtype=torch.float32):
    """The factors that a backend's kernel draws: those of 1 beside 0 are the result itself."""
    real = torch.ones(batch, dtype=dtype)
    run = BACKENDS[backend]["random_interpolate"]
    return run(real, torch.zeros_like(real), torch.tensor(seed), first_sample)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_bits_for_extreme_seeds_and_samples(backend, seed):
    for first_sample in FIRST_SAMPLES:
        expected = textbook.drawn(130, seed, first_sample)
        for dtype in (torch.float32, torch.float64):
            actual = epsilon_of(backend, seed, first_sample, 130, dtype)
            assert np.array_equal(actual.numpy(), expected), f"from sample {first_sample}, {dtype}"
            told = drawn_epsilon(actual, torch.tensor(seed), first_sample)
            assert same_bits(actual, told)


@pytest.mark.parametrize("backend", BACKENDS)
@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    first_sample=st.integers(0, 2**62),
    batch=st.integers(1, 200),
)
def test_the_same_bits_for_any_seed_and_sample(backend, seed, first_sample, batch):
    expected = textbook.drawn(batch, seed, first_sample)
    assert np.array_equal(epsilon_of(backend, seed, first_sample, batch).numpy(), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backward_pass_draws_the_same_factors(backend):
    for first_sample in FIRST_SAMPLES:
        grad = torch.ones(130, 3)
        to_real, to_fake = BACKENDS[backend]["random_interpolate_backward"](
            grad, torch.tensor(-5), first_sample
        )
        epsilon = torch.tensor(textbook.drawn(130, -5, first_sample).astype(np.float32))
        assert same_bits(to_real, epsilon[:, None] * grad)
        assert same_bits(to_fake, (1 - epsilon)[:, None] * grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_a_batch_in_slices_is_the_whole_batch(backend, dtype):
    run, seed = BACKENDS[backend]["random_interpolate"], torch.tensor(7)
    real, fake = torch.randn(2, 131, 5).to(dtype)
    whole = run(real, fake, seed, 3)
    parts = [run(real[i : i + 17], fake[i : i + 17], seed, 3 + i) for i in range(0, 131, 17)]
    assert same_bits(whole, torch.cat(parts))


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_gets_the_factors_of_float64(backend):
    """In float16 and bfloat16, epsilon is rounded only as a part of the result."""
    expected = epsilon_of(backend, 11, 0, 1000, torch.float64)
    for dtype in (torch.float16, torch.bfloat16):
        assert same_bits(epsilon_of(backend, 11, 0, 1000, dtype), expected.to(dtype))


def test_the_seed_follows_the_generator_of_torch():
    """Not a state of the library's own: the same seed tensor, the same result, every time."""
    real, fake = torch.randn(2, 4, 3)
    first, second = (random_interpolate(real, fake, torch.tensor(3)) for _ in range(2))
    assert same_bits(first, second)


def p_value_of_uniform(values: torch.Tensor) -> float:
    return scipy.stats.kstest(values.numpy(), "uniform").pvalue


def test_epsilon_is_uniform_over_the_samples_of_a_batch():
    """Kolmogorov-Smirnov on a million factors; fixed seeds, so that it passes every time."""
    values = [uniform_epsilon(torch.tensor(s), 10**6, 0, torch.device("cpu")) for s in (0, 1, -7)]
    for epsilon in values:
        assert epsilon.min() >= 0
        assert epsilon.max() < 1
        assert p_value_of_uniform(epsilon) > 0.01
    # 10^6 independent pairs correlate by less than 4 / sqrt(10^6), but for one time in 16000.
    a, b, _ = values
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.004
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.004


def test_epsilon_is_uniform_over_seeds():
    """One sample under 4000 neighbouring seeds, as a training loop would draw them."""
    seeds = [uniform_epsilon(torch.tensor(s), 2, 0, torch.device("cpu")) for s in range(4000)]
    for epsilon in torch.stack(seeds).T:
        assert p_value_of_uniform(epsilon) > 0.01


def test_all_24_bits_of_epsilon_are_random():
    """Each bit is set half of the time: within 4 standard deviations of 10^6 / 2."""
    epsilon = uniform_epsilon(torch.tensor(5), 10**6, 0, torch.device("cpu"))
    integers = (epsilon.double() * 2**24).long()
    for bit in range(24):
        ones = int((integers >> bit & 1).sum())
        assert abs(ones - 500_000) < 4 * 500, f"bit {bit}"
