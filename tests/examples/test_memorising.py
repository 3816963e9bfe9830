"""memorising.py: slopes, the exact plan, the points' steps, the GIF, the words."""

import math
from itertools import pairwise

import memorising
import numpy as np
import pytest
import torch
from gan.study import read_rows
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import nn


class Bowl(nn.Module):
    """A critic whose gradient is known: (2 x, -4 y)."""

    def forward(self, points):
        return points[:, :1] ** 2 - 2 * points[:, 1:] ** 2


def test_the_quick_run_leaves_a_table_a_picture_and_an_animation(tmp_path, capsys):
    assert memorising.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "memorising.csv")
    assert memorising.summary(rows) in capsys.readouterr().out
    assert 10_000 < (tmp_path / "memorising.png").stat().st_size < 250_000
    with Image.open(tmp_path / "memorising.gif") as animation:
        assert animation.n_frames == len(rows) == 6
    assert (tmp_path / "memorising.gif").stat().st_size < 600_000
    assert all(row["step and slope"] == pytest.approx(1, abs=1e-4) for row in rows)
    assert rows[-1]["distance"] < rows[0]["distance"]


def test_slopes_are_those_of_a_critic_that_is_known():
    points = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    expected = points * torch.tensor([2.0, -4.0])
    torch.testing.assert_close(memorising.slopes_at(Bowl(), points), expected)


def test_the_plan_is_the_best_assignment():
    points, real = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0))
    costs = torch.cdist(points.double(), real.double()).numpy()
    chosen = linear_sum_assignment(costs)
    distance, ways = memorising.transport(points, real)
    assert distance == pytest.approx(costs[chosen].mean(), rel=1e-6)
    torch.testing.assert_close(ways, real[chosen[1]] - points)


def test_cosines():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    assert memorising.mean_cosine(a, b) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_the_grid_has_x_to_the_right_and_y_upwards():
    values = memorising.values_on_grid(Bowl())
    x, y = memorising.LIMIT, np.linspace(-memorising.LIMIT, memorising.LIMIT, memorising.N_GRID)[10]
    assert values[10, -1] == pytest.approx(x**2 - 2 * y**2, rel=1e-5)


def test_a_point_moves_by_the_stride_times_its_slope():
    """Between two frames that are a step apart, by the rate that falls linearly."""
    steps = 4
    rows, frames = memorising.memorise(memorising.Training(0, steps))
    assert [frame.step for frame in frames] == [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    for before, after in pairwise(frames):
        stride = memorising.STRIDE * (1 - before.step / (steps + 1))
        moved = after.points - before.points
        # Points in float32, below 1: their difference is off by no more than their rounding.
        np.testing.assert_allclose(moved, stride * before.slopes, rtol=0, atol=2**-23)
    assert [row["step and slope"] for row in rows] == pytest.approx([1.0] * 5, abs=1e-4)
    assert rows[0]["slope"] == pytest.approx(np.linalg.norm(frames[0].slopes, axis=1).mean())


def rows_of(distances, on_slope, on_plan):
    return [
        {"seed": seed, "step": step, "distance": distance, "step and slope": on_slope}
        | {"slope and plan": on_plan if distance > distances[0] / 2 else 0.0}
        for seed in range(3)
        for step, distance in enumerate(distances)
    ]


def test_the_words_where_the_points_arrive_along_the_slope():
    words = memorising.summary(rows_of([1.2, 0.7, 0.1, 0.02], 1.0, 0.9))
    assert "reach the data: the exact distance falls from 1.2 to 0.02 (mean of 3 seeds)" in words
    assert "Each step goes along the critic's slope (mean cosine 1.000)" in words
    assert words.endswith(
        "Until half of the distance is gone, that slope points along the cheapest plan (mean cosine"
        " 0.90)."
    )


def test_the_words_where_they_do_not():
    words = memorising.summary(rows_of([1.2, 1.1, 0.9, 0.5], 0.5, 0.1))
    assert "do not reach the data: the exact distance goes from 1.2 to 0.5" in words
    assert "Not every step goes along the critic's slope (mean cosine 0.500)" in words
    assert "that slope does not point along the cheapest plan" in words
