"""distances.py: the plans by enumeration, the divergences in fifty digits, and what is said."""

import itertools
import math

import distances
import mpmath
import numpy as np
import pytest
from gan.study import read_rows
from scipy import stats

from .test_train import assert_picture


def test_the_quick_run_leaves_its_table_its_picture_and_its_words(tmp_path, capsys):
    assert distances.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "distances.csv")
    assert distances.summary(rows) in capsys.readouterr().out
    assert_picture(tmp_path / "distances.png", panels=2)
    assert (tmp_path / "distances.png").stat().st_size < 250_000
    axes = {a.get_title(): a for a in distances.draw(rows).axes}
    for title, n in (("distance of two Gaussians", 15), ("its derivative by μ", 14)):
        assert [len(line.get_xdata()) for line in axes[title].lines] == [n] * 4, "μ = 0 has no log"
    emd = distances.curve_of(rows, "EMD", 1.0)
    assert [emd[0]["mu"], emd[-1]["mu"]] == [0, 35]


def all_plans():
    """Every way to carry whole boxes, as lists of (from, to)."""
    boxes = [position for position, n in distances.START.items() for _ in range(n)]
    places = [position for position, n in distances.GOAL.items() for _ in range(n)]
    return [list(zip(boxes, order, strict=True)) for order in set(itertools.permutations(places))]


def test_both_plans_cost_42_by_hand():
    a = [(1, 7), (1, 8), (1, 8), (2, 9), (2, 10), (3, 10)]
    b = [(1, 7), (1, 10), (1, 10), (2, 8), (2, 8), (3, 9)]
    for name, moves in (("plan A", a), ("plan B", b)):
        plan = np.zeros((3, 4), dtype=int)
        for start, goal in moves:
            plan[start - 1, goal - 7] += 1
        assert (plan == distances.PLANS[name]).all()
        assert sum(goal - start for start, goal in moves) == 42
        assert distances.plan_cost(plan, distances.move_costs(0, 1)) == 42


@pytest.mark.parametrize("case", distances.CASES)
def test_no_plan_is_cheaper_or_dearer_than_the_solvers(case):
    shift, power = distances.CASES[case]
    costs = [sum(abs(x - y - shift) ** power for x, y in plan) for plan in all_plans()]
    table = distances.costs_of(distances.box_rows())
    assert table[case, "cheapest"] == pytest.approx(min(costs))
    assert table[case, "dearest"] == pytest.approx(max(costs))


@pytest.mark.parametrize(
    "plan",
    [
        [[1, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]],  # a box is left
        [[0, 2, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]],  # a place stays empty
        [[1, 2, 0, 0], [0, 0, 2, 0], [0, 0, -1, 2]],  # fewer than none are carried
    ],
)
def test_what_is_no_plan_has_no_cost(plan):
    with pytest.raises(ValueError, match="no plan"):
        distances.plan_cost(np.array(plan), distances.move_costs(0, 1))


@pytest.mark.parametrize("deviation", [1.0, 0.25])
@pytest.mark.parametrize("mu", [0.0, 0.5, 7.0, 35.0])
def test_kl_has_its_closed_form(mu, deviation):
    value, derivative = distances.kl_divergence(mu, deviation)
    closed = math.log(deviation) + (1 + mu**2) / (2 * deviation**2) - 0.5
    assert value == pytest.approx(closed, rel=1e-12, abs=1e-12)
    assert derivative == pytest.approx(mu / deviation**2, rel=1e-12, abs=1e-12)
    assert distances.closed_kl(mu, deviation) == pytest.approx(closed, rel=1e-14)


def js_in_fifty_digits(mu, deviation):
    def integrand(x):
        p, q = mpmath.npdf(x), mpmath.npdf(x, mu, deviation)
        m = (p + q) / 2
        return (p * mpmath.log(p / m) + q * mpmath.log(q / m)) / 2

    return mpmath.quad(integrand, mpmath.linspace(-12, mu + 12, 9), method="gauss-legendre")


@pytest.mark.parametrize(("mu", "deviation"), [(2.0, 0.5), (20.0, 1.0)])
def test_js_and_its_derivative(mu, deviation):
    value, derivative = distances.js_divergence(mu, deviation)
    with mpmath.workdps(50):
        step = mpmath.mpf(10) ** -6
        expected = float(js_in_fifty_digits(mpmath.mpf(mu), deviation))
        above, below = (js_in_fifty_digits(mu + s, deviation) for s in (step, -step))
        slope = float((above - below) / (2 * step))
    assert value == pytest.approx(expected, rel=1e-10)
    assert derivative == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.5, 35.0, -2.0])
def test_the_earth_movers_distance_is_the_distance_of_the_means(mu):
    value, derivative = distances.earth_movers_distance(mu, n=50)
    quantiles = stats.norm.ppf((np.arange(50) + 0.5) / 50)
    assert value == pytest.approx(stats.wasserstein_distance(quantiles, quantiles + mu), abs=1e-12)
    assert value == pytest.approx(abs(mu), abs=1e-12)
    assert derivative == pytest.approx(-1 if mu < 0 else 1)


def invented(cheapest, emd_slopes, kl, js, js_slopes):
    """Rows for two means, 10 and 20."""
    names = [*distances.PLANS, "cheapest", "dearest"]
    rows = [
        {"part": "boxes", "case": case, "quantity": name, "value": value}
        for case in distances.CASES
        for name, value in zip(names, (42, 42, cheapest, 50), strict=True)
    ]
    curves = {"EMD": ((10, 20), emd_slopes), "KL": ((1, kl), (1, 1)), "JS": (js, js_slopes)}
    return rows + [
        {"part": "Gaussians", "case": 1, "quantity": name, "mu": mu, "value": v, "derivative": d}
        for name, (values, slopes) in curves.items()
        for mu, v, d in zip((10, 20), values, slopes, strict=True)
    ]


def test_the_words_for_what_is_expected():
    limit = math.log(2)
    words = distances.summary(invented(42, (1, 1), 500, (0.5, limit), (0.2, 1e-9)))
    assert words == (
        "While one of two Gaussians moves from 0 to 20, the earth mover's distance grows to 20,"
        " with a slope of 1 all the way. KL grows to 500, and JS stays at its limit ln 2 (within 1"
        " % from μ = 20 on), and its slope vanishes (1e-09 in the end). Two plans for moving the"
        " same boxes both cost 42, and no plan is cheaper."
    )


def test_the_words_for_the_opposite():
    words = distances.summary(invented(40, (0.5, 1), 30, (0.4, 0.5), (0.2, 0.1)))
    assert words == (
        "While one of two Gaussians moves from 0 to 20, the earth mover's distance grows to 20,"
        " with a slope of 0.5 to 1 all the way. KL grows to 30, and JS reaches 0.5 of at most ln 2"
        " = 0.69, with a slope of 0.1. Two plans for moving the same boxes cost 42 and 42, the"
        " cheapest plan 40."
    )


def test_a_slope_that_stays_is_not_said_to_vanish():
    words = distances.summary(invented(42, (1, 1), 500, (0.5, math.log(2)), (0.2, 0.1)))
    assert "with a slope of 0.1" in words
    assert "vanishes" not in words
