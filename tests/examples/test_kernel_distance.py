"""gan/kernel_distance.py: the distance over all pairs, and its error."""

import math

import numpy as np
import pytest
from gan import kernel_distance


def brute_force(x, y):
    """The unbiased MMD², pair by pair: arXiv 1801.01401, equation 4."""

    def k(a, b):
        return (sum(a_i * b_i for a_i, b_i in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(k(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * across


def samples(seed, n, m, shift=0.0, d=3):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(m, d)) + shift


@pytest.mark.parametrize(("n", "m"), [(9, 9), (12, 7), (7, 12)])
def test_the_distance_is_that_of_all_pairs(n, m):
    x, y = samples(0, n, m, shift=0.3)
    distance, _ = kernel_distance.kernel_distance(x, y, groups=3)
    assert distance == pytest.approx(brute_force(x, y), rel=1e-12)


def test_the_error_is_the_jackknife_over_groups():
    groups, (x, y) = 4, samples(1, 13, 10, shift=0.3)
    left_out = [
        brute_force(x[np.arange(len(x)) % groups != g], y[np.arange(len(y)) % groups != g])
        for g in range(groups)
    ]
    mean = sum(left_out) / groups
    variance = (groups - 1) / groups * sum((value - mean) ** 2 for value in left_out)
    _, error = kernel_distance.kernel_distance(x, y, groups)
    assert error == pytest.approx(math.sqrt(variance), rel=1e-9)


def trials(shift, n_trials=400):
    """Distances and errors of that many pairs of small samples, of 40 and 60."""
    pairs = (samples(seed, 40, 60, shift) for seed in range(n_trials))
    return np.array([kernel_distance.kernel_distance(x, y) for x, y in pairs]).T


def test_samples_of_one_distribution_are_at_distance_zero_on_average():
    distances, _ = trials(shift=0.0)
    assert abs(distances.mean()) < 3 * distances.std() / math.sqrt(len(distances))
    assert (distances < 0).any()


def test_with_the_diagonal_the_distance_would_be_biased(monkeypatch):
    unbiased = kernel_distance.group_means
    monkeypatch.setattr(
        kernel_distance, "group_means", lambda k, g, within: unbiased(k, g, within=False)
    )
    distances, _ = trials(shift=0.0)
    assert distances.mean() > 10 * distances.std() / math.sqrt(len(distances))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_error_is_the_scatter_of_the_distance(shift):
    distances, errors = trials(shift)
    ratio = math.sqrt((errors**2).mean()) / distances.std()
    # At distance 0 the jackknife errs upwards, as the docstring says.
    assert 0.9 < ratio < (1.6 if shift == 0 else 1.15)
