"""The kernel distance of two samples: the unbiased MMD² with KID's kernel, and its error.

Source: Bińkowski et al., "Demystifying MMD GANs", arXiv 1801.01401, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

GROUPS = 20


def kernel_distance(x: np.ndarray, y: np.ndarray, groups: int = GROUPS) -> tuple[float, float]:
    """The unbiased MMD² of the samples [n, d] and [m, d], and its standard error by the jackknife.

    A group is left out of both samples at once. Where the distance is 0 the error comes out too
    large rather than too small: there, the jackknife counts the pairs' share of it twice.
    """
    within_x, within_y = (group_means(kernel(z, z), groups, within=True) for z in (x, y))
    across = group_means(kernel(x, y), groups, within=False)
    estimates = within_x + within_y - 2 * across
    estimate, left_out = estimates[0], estimates[1:]
    variance = (groups - 1) * left_out.var()
    return float(estimate), math.sqrt(variance)


def over_seeds(distances: Sequence[float], errors: Sequence[float]) -> tuple[float, float, float]:
    """The mean over the seeds, its standard error, and the deviation of the seeds.

    The error comes from the scatter of the seeds and from the error of each.
    """
    deviation = float(np.std(distances, ddof=1)) if len(distances) > 1 else 0.0
    variance = float(np.square(errors).mean()) + deviation**2
    return float(np.mean(distances)), math.sqrt(variance / len(distances)), deviation


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel between the rows of both, [n, m]."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # many times faster than ** 3


def group_means(kernels: np.ndarray, groups: int, within: bool) -> np.ndarray:
    """The mean over all pairs, and over those without a sample of each group, [1 + groups].

    Within a sample, a pair is of two different members: that is what makes the estimate unbiased.
    """
    pairs = np.ones_like(kernels)
    if within:
        np.fill_diagonal(pairs, 0)
    n, m = (np.eye(groups)[np.arange(size) % groups] for size in kernels.shape)
    sums, counts = (n.T @ matrix @ m for matrix in (kernels * pairs, pairs))  # [groups, groups]
    return totals(sums) / totals(counts)


def totals(sums: np.ndarray) -> np.ndarray:
    """Of sums by pairs of groups, the sum of all, and the sums without each group."""
    without = sums.sum() - sums.sum(0) - sums.sum(1) + sums.diagonal()
    return np.array([sums.sum(), *without])
