"""What does it cost to move one distribution onto another, and what does its gradient say?

    python examples/distances.py       # a few seconds

Two exercises behind Wasserstein GANs. Six boxes in stacks are moved to other places by two plans,
which an exact solver compares with the cheapest and the dearest plan there is. Two Gaussians move
apart: the Kullback-Leibler and Jensen-Shannon divergences in nats by quadrature, the earth mover's
distance by exact transport of their quantiles, and the derivative of each by the second mean.
Sources: Arjovsky et al., "Wasserstein GAN", arXiv 1701.07875, section 2; Arjovsky and Bottou,
"Towards Principled Methods for Training GANs", arXiv 1701.04862, theorem 2.4 on gradients that
vanish.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import ot
from gan.pictures import FAKE, LINE, REAL
from gan.study import Row, Study, from_to
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

START = {1: 3, 2: 2, 3: 1}  # boxes at each position
GOAL = {7: 1, 8: 2, 9: 1, 10: 2}

#: How many boxes go from each start (rows) to each goal (columns).
PLANS = {
    "plan A": np.array([[1, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]),  # no two paths cross
    "plan B": np.array([[1, 0, 0, 2], [0, 2, 0, 0], [0, 0, 1, 0]]),
}

#: By its name, how far the goals are shifted, and the power of the distance that a move costs.
CASES = {
    "goals 7 to 10, |x − y|": (0, 1),
    "goals 7 to 10, (x − y)²": (0, 2),
    "goals 0 to 3, |x − y|": (-7, 1),
}
BEYOND, SQUARED, AMONG = CASES

DEVIATION, NARROW = 1.0, 0.25  # of the Gaussian that moves; the other one is N(0, 1)
FARTHEST = 35.0
CURVES = {  # by quantity and deviation: colour, line, label
    ("KL", DEVIATION): (LINE, "-", "KL(N(0, 1), N(μ, 1))"),
    ("KL", NARROW): (LINE, "--", f"KL(N(0, 1), N(μ, {NARROW}²))"),
    ("JS", DEVIATION): (FAKE, "-", "JS(N(0, 1), N(μ, 1))"),
    ("EMD", DEVIATION): (REAL, "-", "EMD(N(0, 1), N(μ, 1))"),
}


def box_rows() -> list[Row]:
    """The costs of both plans and of the solver's, in every case."""
    rows = []
    for case, (shift, power) in CASES.items():
        costs = move_costs(shift, power)
        plans = PLANS | {"cheapest": cheapest_plan(costs), "dearest": cheapest_plan(-costs)}
        rows += [
            {"part": "boxes", "case": case, "quantity": name, "value": plan_cost(plan, costs)}
            for name, plan in plans.items()
        ]
    return rows


def move_costs(shift: int, power: int) -> np.ndarray:
    """The cost of moving a box from each start to each goal, [3, 4]."""
    start, goal = np.array(list(START)), np.array(list(GOAL)) + shift
    return np.abs(start[:, None] - goal).astype(float) ** power


def plan_cost(plan: np.ndarray, costs: np.ndarray) -> float:
    """What the plan costs; ValueError if it does not take all of the start to all of the goal."""
    right = np.allclose(plan.sum(1), list(START.values()), rtol=0, atol=1e-9)
    right &= np.allclose(plan.sum(0), list(GOAL.values()), rtol=0, atol=1e-9)
    if not right or plan.min() < 0:
        raise ValueError(f"no plan from {START} to {GOAL}: {plan.tolist()}")
    return float((plan * costs).sum())


def cheapest_plan(costs: np.ndarray) -> np.ndarray:
    """The plan that costs least of all, by an exact solver."""
    boxes = [np.array(list(stack.values()), dtype=float) for stack in (START, GOAL)]
    return np.asarray(ot.emd(*boxes, costs - costs.min()))  # the constant: costs are not negative


def gaussian_rows(mu: float) -> list[Row]:
    """The distances of N(0, 1) and N(mu, 1), and the KL divergence from the narrower N(mu, s²)."""
    divergences = [
        ("KL", DEVIATION, *kl_divergence(mu, DEVIATION), closed_kl(mu, DEVIATION)),
        ("KL", NARROW, *kl_divergence(mu, NARROW), closed_kl(mu, NARROW)),
        ("JS", DEVIATION, *js_divergence(mu, DEVIATION), ""),  # has no closed form
        ("EMD", DEVIATION, *earth_movers_distance(mu), abs(mu)),
    ]
    return [
        {"part": "Gaussians", "case": s, "quantity": quantity, "value": value}
        | {"mu": mu, "derivative": derivative, "closed form": closed}
        for quantity, s, value, derivative, closed in divergences
    ]


def closed_kl(mu: float, deviation: float) -> float:
    """KL(N(0, 1), N(mu, deviation²))."""
    return math.log(deviation) + (1 + mu**2) / (2 * deviation**2) - 0.5


def log_densities(mu: float, deviation: float) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """A grid, its step, and log p and log q there: logarithms, for q itself would underflow.

    The sum of a smooth function that vanishes at both ends, as all integrands here do, is its
    integral to about the last digit.
    """
    x, step = np.linspace(-12, mu + 12, 200 * (24 + math.ceil(mu)), retstep=True)
    log_p, log_q = stats.norm.logpdf(x), stats.norm.logpdf(x, mu, deviation)
    return x, float(step), log_p, log_q


def kl_divergence(mu: float, deviation: float) -> tuple[float, float]:
    """KL(N(0, 1), N(mu, deviation²)) = ∫ p log(p / q), and its derivative by mu."""
    x, step, log_p, log_q = log_densities(mu, deviation)
    p, slope_of_log_q = np.exp(log_p), (x - mu) / deviation**2
    return float(p @ (log_p - log_q)) * step, float(-p @ slope_of_log_q) * step


def js_divergence(mu: float, deviation: float) -> tuple[float, float]:
    """JS = KL(p, m) / 2 + KL(q, m) / 2 with m = (p + q) / 2, and its derivative by mu.

    p / m = 2 / (1 + q / p), so that JS = log 2 − ∫ p log(1 + q / p) / 2 − ∫ q log(1 + p / q) / 2.
    Its derivative is ∫ q′ log(q / m) / 2 with q′ that of q, and ∫ q′ = 0 lets go of the log 2: so
    written, what vanishes is a sum of small terms and not a difference of large ones.
    """
    x, step, log_p, log_q = log_densities(mu, deviation)
    p, q, slope_of_log_q = np.exp(log_p), np.exp(log_q), (x - mu) / deviation**2
    lost = p @ np.logaddexp(0, log_q - log_p) + q @ np.logaddexp(0, log_p - log_q)
    derivative = -(q * slope_of_log_q) @ np.logaddexp(0, log_p - log_q) / 2
    return math.log(2) - float(lost) * step / 2, float(derivative) * step


def earth_movers_distance(mu: float, n: int = 1000) -> tuple[float, float]:
    """EMD of the n quantiles of N(0, 1) and of N(mu, 1), and its derivative to the right by mu.

    The derivative is that of the cost of the cheapest plan, which stays the plan for a little more.
    """
    start = stats.norm.ppf((np.arange(n) + 0.5) / n)
    plan = ot.emd_1d(start, start + mu, metric="euclidean", dense=False)
    moved = start[plan.col] + mu - start[plan.row]
    return float(plan.data @ np.abs(moved)), float(plan.data @ np.where(moved >= 0, 1, -1))


def draw(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(12, 7.4), dpi=110, layout="constrained")
    axes = figure.subplot_mosaic(
        [["plan A", "plan B"], ["table", "table"], ["value", "derivative"]],
        height_ratios=[1, 0.55, 1.5],
    )
    boxes = costs_of(rows)
    for name, plan in PLANS.items():
        draw_plan(axes[name], plan, f"{name}: {boxes[BEYOND, name]:g} (boxes × distance)")
    draw_table(axes["table"], boxes)
    draw_curves(axes["value"], rows, "value")
    axes["value"].set(title="distance of two Gaussians", ylabel="nats; for EMD, units of μ")
    axes["value"].set_ylim(0, 1.1 * FARTHEST)  # KL leaves it
    axes["value"].legend(loc="lower right", bbox_to_anchor=(1, 0.06), fontsize=9)
    draw_curves(axes["derivative"], [row for row in rows if row.get("mu")], "derivative")
    axes["derivative"].set(title="its derivative by μ", ylabel="per unit of μ", yscale="log")
    axes["derivative"].set_ylim(1e-12, None)  # JS leaves it
    return figure


def costs_of(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
    """The costs by case and plan."""
    return {(r["case"], r["quantity"]): r["value"] for r in rows if r["part"] == "boxes"}


def draw_plan(axes: Axes, plan: np.ndarray, title: str) -> None:
    """The stacks before (filled) and after (framed), and an arrow for every box."""
    moves = [
        (start, goal)
        for i, start in enumerate(START)
        for j, goal in enumerate(GOAL)
        for _ in range(plan[i, j])
    ]
    levels = dict.fromkeys((*START, *GOAL), 0)
    colours = dict(zip(START, (LINE, FAKE, REAL), strict=True))
    for start, goal in moves:
        colour = colours[start]
        box = {"width": 0.8, "height": 0.8, "edgecolor": colour, "linewidth": 1.5}
        axes.bar(start, bottom=levels[start] + 0.1, color=colour, **box)
        axes.bar(goal, bottom=levels[goal] + 0.1, color="none", **box)
        axes.annotate(
            "",
            (goal - 0.45, levels[goal] + 0.5),
            (start + 0.45, levels[start] + 0.5),
            arrowprops={"arrowstyle": "->", "color": colour, "connectionstyle": "arc3,rad=-0.12"},
        )
        levels[start] += 1
        levels[goal] += 1
    axes.set(title=title, xlabel="position", xlim=(0.3, 10.7), ylim=(0, 3.4))
    axes.set(xticks=range(1, 11), yticks=range(4), ylabel="boxes")


def draw_table(axes: Axes, boxes: dict[tuple[str, str], float]) -> None:
    """The costs, one row for each case."""
    names = [*PLANS, "cheapest", "dearest"]
    axes.set_axis_off()
    axes.set_title("cost of both plans, and of the cheapest and the dearest plan there is")
    table = axes.table(
        [[f"{boxes[case, name]:g}" for name in names] for case in CASES],
        rowLabels=list(CASES),
        colLabels=names,
        cellLoc="center",
        bbox=(0.25, 0, 0.6, 1),  # pyright: ignore[reportArgumentType]  # left, bottom, width, height
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10)


def draw_curves(axes: Axes, rows: Sequence[Row], column: str) -> None:
    for (quantity, deviation), (colour, line, label) in CURVES.items():
        curve = curve_of(rows, quantity, deviation)
        x, y = [row["mu"] for row in curve], [row[column] for row in curve]
        axes.plot(x, y, color=colour, linestyle=line, label=label)
    axes.set(xlabel="second mean μ")
    axes.grid(alpha=0.3)


def curve_of(rows: Sequence[Row], quantity: str, deviation: float) -> list[Row]:
    """The rows of a curve, in the order of mu."""
    wanted = ("Gaussians", quantity, deviation)
    return [row for row in rows if (row["part"], row["quantity"], row["case"]) == wanted]


def summary(rows: Sequence[Row]) -> str:
    return f"{gaussians_in_words(rows)} {boxes_in_words(costs_of(rows))}"


def boxes_in_words(boxes: dict[tuple[str, str], float]) -> str:
    a, b, cheapest = (f"{boxes[BEYOND, name]:g}" for name in (*PLANS, "cheapest"))
    if a == b == cheapest:
        return f"Two plans for moving the same boxes both cost {a}, and no plan is cheaper."
    return f"Two plans for moving the same boxes cost {a} and {b}, the cheapest plan {cheapest}."


def gaussians_in_words(rows: Sequence[Row]) -> str:
    kl, js, emd = (curve_of(rows, quantity, DEVIATION) for quantity in ("KL", "JS", "EMD"))
    slopes = [row["derivative"] for row in emd]
    pace = from_to(f"{min(slopes):.3g}", f"{max(slopes):.3g}")
    return (
        f"While one of two Gaussians moves from 0 to {emd[-1]['mu']:g}, the earth mover's distance"
        f" grows to {emd[-1]['value']:.3g}, with a slope of {pace} all the way."
        f" KL grows to {kl[-1]['value']:.3g}, and {js_in_words(js)}."
    )


def js_in_words(js: Sequence[Row]) -> str:
    """Whether JS has come to its limit, and no slope is left."""
    limit, value, slope = math.log(2), js[-1]["value"], js[-1]["derivative"]
    steepest = max(row["derivative"] for row in js)
    if value < 0.99 * limit or slope > 1e-3 * steepest:
        return f"JS reaches {value:.2g} of at most ln 2 = {limit:.2g}, with a slope of {slope:.2g}"
    reached = next(row["mu"] for row in js if row["value"] >= 0.99 * limit)
    return (
        f"JS stays at its limit ln 2 (within 1 % from μ = {reached:.3g} on), and its slope vanishes"
        f" ({slope:.0e} in the end)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    n = study.pick(quick=15, reduced=141, full=141)
    rows = box_rows()
    for mu in np.linspace(0, FARTHEST, n).tolist():
        rows += gaussian_rows(mu)
    study.leave(rows, draw(rows), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
