"""How good are the samples of each method, and after how many seconds of training?

    python examples/sample_quality.py       # seven methods, two to three minutes on 2 cores
    python examples/sample_quality.py --full       # all methods, six minutes

Small networks learn scikit-learn's digits (8x8 pixels in [-1, 1]) by each of gan/methods.py, with
its paper's weight, learning rate and critic steps per generator step, and with the same number of
critic steps in all. A third of the digits is held out and never trained on. Kernel distance: the
unbiased MMD² between held-out digits and as many generated ones as there are training digits, with
KID's kernel (x·y/d + 1)³, on pixels where KID takes features: it sees their first three moments.
What copies of the training digits would get is measured as well, and what noise gets.

Each seed draws its own networks and its own third. The standard error of a mean over the seeds
comes from the scatter of the seeds and from that of both samples, which is estimated by leaving out
one of 20 groups after the other (jackknife). Seconds are the wall time of training in one process
on one core, while another trains beside it; measuring is not counted.
Source: Bińkowski et al., "Demystifying MMD GANs", arXiv 1801.01401, section 4.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from gan.data import TensorSamples, batches, digits
from gan.methods import METHODS
from gan.options import settings_of
from gan.pictures import FAKE, LINE, REAL
from gan.run import Run
from gan.study import Row, Study, listed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from train import train

FLOOR, UNTRAINED, NOISE = "training digits", "untrained generator", "uniform noise"
SUBSET = ("wgan-gp", "wgan-lp", "wgan", "gan", "r1", "0-gp", "r3gan")
HELD_OUT = 599  # of the 1797 digits
GROUPS = 20
N_CHECKPOINTS = 8


@dataclass(frozen=True)
class Item:
    """One method and seed, or one of the samples that nothing is trained for."""

    name: str
    seed: int
    critic_steps: int


class Unwatched(Run):
    """A run without the gradient norm that train.py records: the clock is for training alone."""

    def gradient_norms(self, real: Tensor, fake: Tensor) -> Tensor:
        return real.new_zeros(1)


def work(item: Item) -> list[Row]:
    """The rows of this seed: one for each checkpoint."""
    training, held_out = split_digits(item.seed)
    if item.name not in METHODS:
        samples = samples_without_training(item, training)
        return [row_of(item.name, 0, 0.0, samples, held_out)]

    run = new_run(item, training)
    real_batches = batches(
        TensorSamples(training),
        batch_size=run.settings.batch_size,
        seed=item.seed,
        batches_used=0,
        device=run.device,
    )
    every = max(1, run.settings.steps // N_CHECKPOINTS)
    rows, seconds, began = [], 0.0, time.perf_counter()
    for _ in train(run, real_batches):
        if run.step % every == 0 or run.step == run.settings.steps:
            seconds += time.perf_counter() - began
            samples = run.generate(len(training))
            rows.append(row_of(item.name, run.step, seconds, samples, held_out))
            began = time.perf_counter()
    return rows


def split_digits(seed: int) -> tuple[Tensor, Tensor]:
    """The digits to train on, and those that are held out."""
    images = digits(8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[HELD_OUT:]], images[order[:HELD_OUT]]


def new_run(item: Item, training: Tensor) -> Run:
    name = item.name if item.name in METHODS else "wgan-gp"  # any: it is not trained
    options = {"data": "digits", "size": 8, "width": 64, "method": name, "seed": item.seed}
    # Such short runs would lag behind themselves with the average of train.py.
    options |= {"ema": 0.98, "steps": item.critic_steps // METHODS[name].n_critic}
    return Unwatched(settings_of(options), training.shape[1:], torch.device("cpu"))


def samples_without_training(item: Item, training: Tensor) -> Tensor:
    """What the best and the worst generator would give."""
    if item.name == FLOOR:
        return training
    if item.name == UNTRAINED:
        return new_run(item, training).generate(len(training))
    return 2 * torch.rand(training.shape, generator=torch.Generator().manual_seed(item.seed)) - 1


def row_of(name: str, steps: int, seconds: float, samples: Tensor, held_out: Tensor) -> Row:
    distance, error = kernel_distance(*(x.flatten(1).double().numpy() for x in (samples, held_out)))
    counts = {"generator steps": steps, "critic steps": steps and steps * METHODS[name].n_critic}
    return {"method": name} | counts | {"seconds": seconds, "distance": distance, "error": error}


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


def averaged(seeds: Sequence[Row]) -> Row:
    """One row from those of the seeds, which differ in seconds, distance and error."""
    seconds, distances, errors = (
        np.array([row[column] for row in seeds]) for column in ("seconds", "distance", "error")
    )
    deviation = float(distances.std(ddof=1))
    return seeds[0] | {
        "seconds": float(seconds.mean()),
        "distance": float(distances.mean()),
        "error": math.sqrt(((errors**2).mean() + deviation**2) / len(seeds)),
        "deviation of seeds": deviation,
    }


def rows_of_all(measured: Sequence[list[Row]], n_seeds: int) -> list[Row]:
    """The averages, from what ``work`` gave for every name and, within it, every seed."""
    by_name = [measured[i : i + n_seeds] for i in range(0, len(measured), n_seeds)]
    return [averaged(seeds) for of_name in by_name for seeds in zip(*of_name, strict=True)]


def at_the_end(rows: Sequence[Row]) -> dict[str, Row]:
    """The last row of every name."""
    return {row["method"]: row for row in rows}


def trained(rows: Sequence[Row]) -> list[Row]:
    """The last row of every method, the best first."""
    ends = [row for name, row in at_the_end(rows).items() if name in METHODS]
    return sorted(ends, key=lambda row: row["distance"])


def figure_of(rows: Sequence[Row]) -> Figure:
    ends = at_the_end(rows)
    floor = ends[FLOOR]
    figure = Figure(figsize=(13, 1.8 + 0.26 * max(len(ends), 12)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    draw_ends(left, [ends[FLOOR], *trained(rows), ends[UNTRAINED], ends[NOISE]])
    draw_curves(right, rows)
    threshold = max(1e-4, 2 * floor["error"])  # for distances around 0, which may be negative
    band = (floor["distance"] - 2 * floor["error"], floor["distance"] + 2 * floor["error"])
    ticks = [0, *(10.0**i for i in range(math.ceil(math.log10(2 * threshold)), 1))]
    for set_scale, set_ticks, span in (
        (left.set_xscale, left.set_xticks, left.axvspan),
        (right.set_yscale, right.set_yticks, right.axhspan),
    ):
        set_scale("symlog", linthresh=threshold, linscale=0.6)
        set_ticks(ticks)
        span(*band, color=REAL, alpha=0.2, linewidth=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def draw_ends(axes: Axes, ends: Sequence[Row]) -> None:
    """A point with its interval for each, the best on top."""
    names = [title_of(row["method"]) for row in ends]
    times = [f", {row['seconds']:.0f} s" if row["method"] in METHODS else "" for row in ends]
    for y, row in enumerate(ends):
        colour = FAKE if row["method"] in METHODS else REAL if row["method"] == FLOOR else LINE
        axes.errorbar(
            row["distance"], y, xerr=2 * row["error"], fmt="o", color=colour, capsize=3, zorder=3
        )
    axes.set_yticks(range(len(ends)), [a + b for a, b in zip(names, times, strict=True)])
    axes.invert_yaxis()
    axes.set(
        title="at the end of training (interval: ± 2 standard errors)",
        xlabel="kernel distance to held-out digits (linear around 0)",
    )


def draw_curves(axes: Axes, rows: Sequence[Row]) -> None:
    """The distance along training, a curve for each method."""
    styles = product(("-", "--"), (f"C{i}" for i in range(10)))
    for end, (line, colour) in zip(trained(rows), styles, strict=False):
        curve = [row for row in rows if row["method"] == end["method"]]
        axes.plot(
            [row["seconds"] for row in curve],
            [row["distance"] for row in curve],
            f"{line}o",
            color=colour,
            markersize=3,
            linewidth=1.2,
            label=title_of(end["method"]),
        )
    axes.set(
        title="along training (band: training digits ± 2 standard errors)",
        xlabel="seconds of training",
        ylabel="kernel distance (linear around 0)",
        xlim=(0, None),
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5)


def title_of(name: str) -> str:
    return METHODS[name].title if name in METHODS else name


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Quality against time at the end of training: a header and a line for each, the best first."""
    ends = at_the_end(rows)
    header = ["", "seconds of training", "generator steps", "kernel distance ± standard error"]
    lines = [
        [title_of(row["method"]), f"{row['seconds']:.0f}", f"{row['generator steps']}", value(row)]
        for row in (ends[FLOOR], *trained(rows), ends[UNTRAINED], ends[NOISE])
    ]
    return [header, *lines]


def summary(rows: Sequence[Row]) -> str:
    ends, floor = trained(rows), at_the_end(rows)[FLOOR]
    best = ends[0]
    above = "above" if differ(best, floor) else "which cannot be told from"
    first = (
        f"Closest to held-out digits: {title_of(best['method'])} with kernel distance"
        f" {value(best)}, {above} the {value(floor)} of training digits."
    )
    return f"{first} {others_in_words(best, ends[1:])} {times_in_words(rows, ends)}"


def others_in_words(best: Row, others: Sequence[Row]) -> str:
    tied = [title_of(row["method"]) for row in others if not differ(row, best)]
    behind = [row for row in others if differ(row, best)]
    if not behind:
        return "No other method is behind it by more than two standard errors of the difference."
    last = behind[-1]
    far = f"{title_of(last['method'])} the farthest with {value(last)}"
    if not tied:
        return f"All others are behind it by more than two standard errors, {far}."
    return (
        f"{listed(tied)} {'is' if len(tied) == 1 else 'are'} within two standard errors of"
        f" the difference; {len(behind)} of {len(others)} others are further behind, {far}."
    )


def times_in_words(rows: Sequence[Row], ends: Sequence[Row]) -> str:
    """How long training took, and who first came to a hundredth of the untrained distance."""
    seconds = sorted(row["seconds"] for row in ends)
    near = at_the_end(rows)[UNTRAINED]["distance"] / 100
    arrivals = [
        (row["seconds"], title_of(row["method"]))
        for row in rows
        if row["method"] in METHODS and row["distance"] <= near
    ]
    steps = f"{ends[0]['critic steps']} critic steps took {seconds[0]:.3g} to {seconds[-1]:.3g} s"
    if not arrivals:
        return f"The {steps}, and no method came to a hundredth of the untrained distance."
    soonest, title = min(arrivals)
    n = len({title for _, title in arrivals})
    return (
        f"The {steps}; a hundredth of the untrained distance was reached by {n} of {len(ends)}"
        f" methods, first by {title} after {soonest:.3g} s."
    )


def differ(a: Row, b: Row) -> bool:
    """Whether two distances are more than two standard errors of their difference apart."""
    return abs(a["distance"] - b["distance"]) > 2 * math.hypot(a["error"], b["error"])


def value(row: Row) -> str:
    """The distance and its error, with two digits of the error."""
    decimals = max(0, 1 - math.floor(math.log10(row["error"])))
    return f"{row['distance']:.{decimals}f} ± {row['error']:.{decimals}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    methods = study.pick(quick=SUBSET[::3], reduced=SUBSET, full=tuple(METHODS))
    critic_steps = study.pick(quick=5, reduced=2500, full=3000)
    n_seeds = 2
    items = [
        Item(name, seed, critic_steps)
        for name in (FLOOR, *methods, UNTRAINED, NOISE)
        for seed in range(n_seeds)
    ]
    rows = rows_of_all(study.run(work, items), n_seeds)
    study.leave(rows, figure_of(rows), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
