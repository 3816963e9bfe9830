"""How good are the samples of each method, and after how many seconds of training?

    python examples/sample_quality.py       # seven methods, two to three minutes on 2 cores
    python examples/sample_quality.py --full       # all methods, six minutes

Small networks learn scikit-learn's digits (8x8 pixels in [-1, 1]) by each of gan/methods.py, with
its paper's weight, learning rate and critic steps per generator step, and with the same number of
critic steps in all. A third of the digits is held out and never trained on. Kernel distance: the
unbiased MMD² between held-out digits and as many generated ones as there are training digits, with
KID's kernel (x·y/d + 1)³, on pixels where KID takes features: it sees their first three moments.
Inception score: gan/inception_score.py, with a classifier that knows the training digits alone, in
parts of about 120 samples; ± is the deviation of these parts. A class is covered by 2 % of samples.
What copies of the training digits would get is measured as well, and half of those held out against
the other half, noise, one class alone, and one digit repeated.

Each seed draws its own networks and its own third. The standard error of a mean distance over the
seeds comes from the scatter of the seeds and from that of both samples, which is estimated by
leaving out one of 20 groups after the other (jackknife). Seconds are the processor's time of
training in one process with one thread, the wall time on a core of its own, while another trains
beside it; measuring is not counted.
Sources: arXiv 1801.01401, section 4, and arXiv 1606.03498, section 4.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from gan.data import SplitDigits
from gan.kernel_distance import over_seeds
from gan.methods import METHODS
from gan.options import settings_of
from gan.pictures import FAKE, LINE, REAL
from gan.quality import ClassifiedDigits, classified_digits, quality
from gan.run import Run
from gan.study import (
    Row,
    Study,
    Unwatched,
    checkpoints,
    from_to,
    listed,
    plus_minus,
    training_batches,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor
from train import train

FLOOR, HELD_OUT = "training digits", "held-out digits"
UNTRAINED, NOISE = "untrained generator", "uniform noise"
ONE_CLASS, REPEATED = "one class of digits", "one digit repeated"
SANITY = (UNTRAINED, NOISE, ONE_CLASS, REPEATED)
REFERENCES = (FLOOR, HELD_OUT, NOISE, ONE_CLASS, REPEATED)
SUBSET = ("wgan-gp", "wgan-lp", "wgan", "gan", "r1", "0-gp", "r3gan")
SIZE = 8
N_CHECKPOINTS = 8
#: Of these the mean over the seeds is taken as it is.
MEANS = ("seconds", "distance", "score", "score deviation", "classes", "accuracy")


@dataclass(frozen=True)
class Item:
    """One method and seed, or one of the samples that nothing is trained for."""

    name: str
    seed: int
    critic_steps: int


def work(item: Item) -> list[Row]:
    """The rows of this seed: one for each checkpoint."""
    known = classified_digits(SIZE, item.seed)
    digits = known.digits
    if item.name == HELD_OUT:
        return [row_of(HELD_OUT, 0, 0.0, digits.held_out[::2], digits.held_out[1::2], known)]
    if item.name not in METHODS:
        samples = samples_without_training(item, digits)
        return [row_of(item.name, 0, 0.0, samples, digits.held_out, known)]

    run = new_run(item, digits.training)
    steps = train(run, training_batches(run, digits.training))
    n, real = len(digits.training), digits.held_out
    return [
        row_of(item.name, run.step, seconds, run.generate(n), real, known)
        for seconds in checkpoints(run, steps, N_CHECKPOINTS)
    ]


def new_run(item: Item, training: Tensor) -> Run:
    name = item.name if item.name in METHODS else "wgan-gp"  # any: it is not trained
    options = {"data": "digits", "size": SIZE, "width": 64, "method": name, "seed": item.seed}
    # Such short runs would lag behind themselves with the average of train.py.
    options |= {"ema": 0.98, "steps": item.critic_steps // METHODS[name].n_critic}
    return Unwatched(settings_of(options), training.shape[1:], torch.device("cpu"))


def samples_without_training(item: Item, digits: SplitDigits) -> Tensor:
    """What the best and the worst generators would give."""
    training = digits.training
    if item.name == FLOOR:
        return training
    if item.name == ONE_CLASS:
        return training[digits.labels == item.seed % 10]
    if item.name == REPEATED:
        return training[:1].expand_as(training)
    if item.name == UNTRAINED:
        return new_run(item, training).generate(len(training))
    return 2 * torch.rand(training.shape, generator=torch.Generator().manual_seed(item.seed)) - 1


def row_of(
    name: str, steps: int, seconds: float, samples: Tensor, real: Tensor, known: ClassifiedDigits
) -> Row:
    counts = {"generator steps": steps, "critic steps": steps and steps * METHODS[name].n_critic}
    measured = quality(samples, real, known.classifier) | {"accuracy": known.accuracy}
    return {"method": name} | counts | {"seconds": seconds} | measured


def averaged(seeds: Sequence[Row]) -> Row:
    """One row from those of the seeds, which differ in what was measured."""
    means = {column: float(np.mean([row[column] for row in seeds])) for column in MEANS}
    _, error, deviation = over_seeds(*([row[x] for row in seeds] for x in ("distance", "error")))
    return seeds[0] | means | {"error": error, "deviation of seeds": deviation}


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


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The last row of everything: real digits, the methods, and what is no better."""
    ends = at_the_end(rows)
    return [ends[FLOOR], ends[HELD_OUT], *trained(rows), *(ends[name] for name in SANITY)]


def figure_of(rows: Sequence[Row]) -> Figure:
    ends = in_order(rows)
    floor = ends[0]
    figure = Figure(figsize=(16, 1.8 + 0.26 * len(ends)), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 0.7, 1.1])
    draw_ends(left, ends)
    draw_scores(middle, ends)
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
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    return figure


def draw_ends(axes: Axes, ends: Sequence[Row]) -> None:
    """The distance of each with its interval, the best method on top."""
    times = [f", {row['seconds']:.0f} s" if row["method"] in METHODS else "" for row in ends]
    labels = [title_of(row["method"]) + time for row, time in zip(ends, times, strict=True)]
    draw_points(axes, ends, [row["distance"] for row in ends], [2 * row["error"] for row in ends])
    axes.set_yticks(range(len(ends)), labels)
    axes.set(
        title="kernel distance at the end of training",
        xlabel="± 2 standard errors (linear around 0)",
    )


def draw_scores(axes: Axes, ends: Sequence[Row]) -> None:
    """The score of each, in the same order."""
    draw_points(
        axes, ends, [row["score"] for row in ends], [row["score deviation"] for row in ends]
    )
    axes.set_yticks(range(len(ends)), [])
    axes.set(
        title="inception score at the end",
        xlabel="± deviation of the parts",
        xlim=(0.5, 10.2),
        xticks=range(1, 11),
    )
    axes.axvline(ends[0]["score"], color=REAL, linestyle="--", linewidth=1)


def draw_points(
    axes: Axes, ends: Sequence[Row], values: Sequence[float], intervals: Sequence[float]
) -> None:
    for y, (row, x, interval) in enumerate(zip(ends, values, intervals, strict=True)):
        colour = FAKE if row["method"] in METHODS else LINE if row["method"] in SANITY else REAL
        axes.errorbar(x, y, xerr=interval, fmt="o", color=colour, capsize=3, zorder=3)
    axes.invert_yaxis()


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
        title="kernel distance along training (band: that of training digits)",
        xlabel="seconds of training",
        ylabel="linear around 0",
        xlim=(0, None),
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5)


def title_of(name: str) -> str:
    return METHODS[name].title if name in METHODS else name


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Quality against time at the end of training: a header and a line for each, the best first."""
    header = ["", "seconds of training", "generator steps", "kernel distance ± standard error"]
    header += ["inception score ± deviation", "classes covered"]
    lines = []
    for row in in_order(rows):
        cost = f"{row['seconds']:.0f}", f"{row['generator steps']}"
        measured = value(row), score_in_words(row), f"{row['classes']:g}"
        lines.append([title_of(row["method"]), *cost, *measured])
    return [header, *lines]


def summary(rows: Sequence[Row]) -> str:
    ends, floor = trained(rows), at_the_end(rows)[FLOOR]
    best = ends[0]
    place = "above" if differ(best, floor) else "level with"
    n_tied = sum(not differ(row, best) for row in ends[1:])
    tied = f"{n_tied or 'none'} of {len(ends) - 1} others {'are' if n_tied > 1 else 'is'}"
    return (
        f"Closest to held-out digits is {title_of(best['method'])} with a kernel distance of"
        f" {value(best)} ({tied} within two standard errors of the difference), {place} the"
        f" {value(floor)} of training digits. {others_in_words(best, ends[1:])} The estimate is"
        f" unbiased, so a distance near 0 can be negative. {scores_in_words(rows, ends)}"
        f" {times_in_words(rows, ends)}"
    )


def scores_in_words(rows: Sequence[Row], methods: Sequence[Row]) -> str:
    """The scores of the best and the worst, of what is no generator, and whether ranks agree."""
    ends = at_the_end(rows)
    floor, by_score = ends[FLOOR], sorted(methods, key=lambda row: row["score"])
    low, high = by_score[0], by_score[-1]
    collapsed = [title_of(row["method"]) for row in methods if row["classes"] < floor["classes"]]
    covering = f"{listed(collapsed)} missed classes" if collapsed else "no method missed a class"
    ranks = stats.spearmanr(
        [row["score"] for row in methods], [-row["distance"] for row in methods]
    )
    return (
        f"By a classifier of the training digits, right for {100 * floor['accuracy']:.1f} % of the"
        f" others, {title_of(high['method'])} has the highest inception score,"
        f" {score_in_words(high)}, and {title_of(low['method'])} the lowest,"
        f" {score_in_words(low)}; {covering}. References:"
        f" {', '.join(f'{name} {score_in_words(ends[name])}' for name in REFERENCES)}."
        f" The rank correlation of score and nearness over the methods is {ranks.statistic:.2f}."
    )


def score_in_words(row: Row) -> str:
    return f"{row['score']:.2f} ± {row['score deviation']:.2f}"


def others_in_words(best: Row, others: Sequence[Row]) -> str:
    tied = [title_of(row["method"]) for row in others if not differ(row, best)]
    behind = [row for row in others if differ(row, best)]
    if not behind:
        return f"Not told apart from it: {listed(tied)}; clearly behind: none."
    last = behind[-1]
    far = f"{title_of(last['method'])} the farthest with {value(last)}"
    if not tied:
        return f"Clearly behind: all others, {far}."
    return (
        f"Not told apart from it: {listed(tied)}; clearly behind: {len(behind)} of {len(others)},"
        f" {far}."
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
    took = from_to(f"{seconds[0]:.3g}", f"{seconds[-1]:.3g}")
    steps = f"{ends[0]['critic steps']} critic steps took {took} s"
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
    """The distance and its error."""
    return plus_minus(row["distance"], row["error"])


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    methods = study.pick(quick=SUBSET[::3], reduced=SUBSET, full=tuple(METHODS))
    critic_steps = study.pick(quick=5, reduced=2500, full=3000)
    n_seeds = 2
    items = [
        Item(name, seed, critic_steps)
        for name in (FLOOR, HELD_OUT, *methods, *SANITY)
        for seed in range(n_seeds)
    ]
    rows = rows_of_all(study.run(work, items), n_seeds)
    study.leave(rows, figure_of(rows), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
