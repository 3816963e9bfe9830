"""Which method reaches the highest inception score in the same time, and with which networks?

    python examples/score_over_time.py           # one seed, a good minute on 2 cores
    python examples/score_over_time.py --full    # two seeds, three minutes

Figure 3 of the WGAN-GP paper in small: a GAN, a WGAN with clipped weights and WGAN-GP learn
scikit-learn's digits (8x8 pixels), once with the convolutional networks of train.py, which follow
DCGAN, and once with residual ones. For each pair of networks all methods take the same number of
critic steps: one for each generator step of the GAN, five for the others, as in their papers. Their
learning rates are four times their own, for the runs are short. The score is that of
gan/inception_score.py, of as many generated digits as there are training digits.

Seconds are the processor's time of training in one process with one thread, the wall time on a core
of its own; measuring is not counted. Each seed draws its own networks, and its own third of the
digits that are held out and tell how good the score's classifier is.
Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, section 5.3.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gan.methods import METHODS
from gan.models import residual_networks
from gan.options import settings_of
from gan.pictures import REAL
from gan.quality import classified_digits, quality
from gan.run import Run
from gan.study import Row, Study, Unwatched, checkpoints, listed, training_batches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import nn
from train import train

NAMES = ("gan", "wgan", "wgan-gp")
COLOURS = dict(zip(NAMES, ("C1", "C0", "C2"), strict=True))
DCGAN, RESNET = "DCGAN", "ResNet"
#: Critic steps of a full run; a residual one takes five times as long.
CRITIC_STEPS = {DCGAN: 2400, RESNET: 800}
WIDTHS = {DCGAN: 64, RESNET: 32}
SIZE = 8
HURRY = 4  # the learning rate, in those of the methods
TRAINING_DIGITS = "training digits"


@dataclass(frozen=True)
class Training:
    pair: str
    name: str  # of the method
    seed: int
    share: float  # of the steps of a full run
    n_checkpoints: int


class ResidualRun(Unwatched):
    def new_networks(self, shape: Sequence[int]) -> tuple[nn.Module, nn.Module]:
        return residual_networks(shape, self.settings.width)


def measure(training: Training) -> list[Row]:
    """The rows of one training, one for each checkpoint."""
    known = classified_digits(SIZE, training.seed)
    digits = known.digits
    run = new_run(training, digits.training.shape[1:])
    steps = train(run, training_batches(run, digits.training))
    common = {"pair": training.pair, "method": training.name, "seed": training.seed}
    rows: list[Row] = []
    for seconds in checkpoints(run, steps, training.n_checkpoints):
        counts = {"seconds": seconds, "generator steps": run.step}
        measured = quality(run.generate(len(digits.training)), digits.held_out, known.classifier)
        rows.append(common | counts | measured)
    return rows


def new_run(training: Training, shape: Sequence[int]) -> Run:
    method = METHODS[training.name]
    critic_steps = round(training.share * CRITIC_STEPS[training.pair])
    given = {"data": "digits", "size": SIZE, "method": training.name, "seed": training.seed}
    given |= {"width": WIDTHS[training.pair], "learning_rate": HURRY * method.learning_rate}
    given |= {"ema": 0.98, "steps": critic_steps // method.n_critic}
    kind = ResidualRun if training.pair == RESNET else Unwatched
    return kind(settings_of(given), shape, torch.device("cpu"))


def digits_row(seed: int) -> Row:
    """What the digits themselves get that the networks learn from."""
    known = classified_digits(SIZE, seed)
    measured = quality(known.digits.training, known.digits.held_out, known.classifier)
    common = {"pair": "", "method": TRAINING_DIGITS, "seed": seed}
    return common | {"seconds": 0.0, "generator steps": 0} | measured | {"accuracy": known.accuracy}


def curves(rows: Sequence[Row], pair: str, name: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Over the checkpoints the mean x of the seeds, [n], and the score of each, [seeds, n]."""
    chosen = [row for row in rows if (row["pair"], row["method"]) == (pair, name)]
    seeds = sorted({row["seed"] for row in chosen})
    of_seeds = [[row for row in chosen if row["seed"] == seed] for seed in seeds]
    xs, scores = (
        np.array([[row[column] for row in of_seed] for of_seed in of_seeds], dtype=float)
        for column in (x, "score")
    )
    return xs.mean(0), scores


def digits_rows(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["method"] == TRAINING_DIGITS]


def digits_score(rows: Sequence[Row]) -> float:
    return float(np.mean([row["score"] for row in digits_rows(rows)]))


def figure_of(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(11, 8), dpi=110, layout="constrained")
    panels = figure.subplots(2, 2, sharey=True)
    for column, pair in zip(panels.T, CRITIC_STEPS, strict=True):
        for axes, x in zip(column, ("seconds", "generator steps"), strict=True):
            draw_curves(axes, rows, pair, x)
        column[0].set_title(f"{pair} pair")
    for axes in panels[:, 0]:
        axes.set_ylabel("inception score, from 1 to 10")
    panels[0, 0].legend(loc="lower right", fontsize=9)
    return figure


def draw_curves(axes: Axes, rows: Sequence[Row], pair: str, x: str) -> None:
    """The mean of the seeds, and each of them, faint."""
    for name, colour in COLOURS.items():
        xs, scores = curves(rows, pair, name, x)
        axes.plot(xs, scores.mean(0), "o-", color=colour, markersize=4, label=METHODS[name].title)
        axes.plot(xs, scores.T, color=colour, linewidth=0.8, alpha=0.5)
    axes.axhline(digits_score(rows), color=REAL, linestyle="--", linewidth=1, label=TRAINING_DIGITS)
    axes.set(ylim=(1, 10))
    if x == "seconds":
        axes.set(xlabel="seconds of training", xlim=(0, None))
    else:
        axes.set(xlabel="generator steps (logarithmic)", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    axes.grid(alpha=0.3)


def at_equal_time(rows: Sequence[Row], pair: str) -> tuple[float, dict[str, np.ndarray]]:
    """When the first of the methods has ended, and the scores of all seeds at that time."""
    by_name = {name: curves(rows, pair, name, "seconds") for name in NAMES}
    end = float(min(seconds[-1] for seconds, _ in by_name.values()))
    return end, {
        name: np.array([np.interp(end, seconds, of_seed) for of_seed in scores])
        for name, (seconds, scores) in by_name.items()
    }


def summary(rows: Sequence[Row]) -> str:
    firsts, orders, as_in_paper = [], [], []
    for pair in CRITIC_STEPS:
        seconds, scores = at_equal_time(rows, pair)
        best = max(NAMES, key=lambda name: scores[name].mean())
        means = listed([f"{METHODS[n].title} {scores[n].mean():.2f}" for n in NAMES])
        first = f"{METHODS[best].title} is first ({means} after {seconds:.0f} s)"
        firsts.append(f"with the {pair} pair {first}")
        clipped, plain = (place(scores["wgan-gp"], scores[other]) for other in ("wgan", "gan"))
        orders.append(f"With the {pair} pair, WGAN-GP is {clipped} clipped WGAN and {plain} GAN.")
        as_in_paper += [pair] if clipped == "above" else []
    so_here = f"so here with {listed(as_in_paper)}" if as_in_paper else "not so here"
    of_digits = digits_rows(rows)
    accuracy = np.mean([row["accuracy"] for row in of_digits])
    return (
        f"Inception scores after the same time: {'; '.join(firsts)}."
        f" {' '.join(orders)} On CIFAR-10, the paper has WGAN-GP above clipped weights; {so_here}."
        f" Training digits get {digits_score(rows):.2f}; the classifier is right for"
        f" {100 * accuracy:.1f} % of those held out. Scores are means of {len(of_digits)}"
        f" seed{'s'[: len(of_digits) - 1]}."
    )


def place(ours: np.ndarray, others: np.ndarray) -> str:
    """Above or below where no seed says otherwise."""
    if ours.min() > others.max():
        return "above"
    return "below" if ours.max() < others.min() else "level with"


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    share = study.pick(quick=0.02, reduced=0.7, full=1.0)
    n_checkpoints = study.pick(quick=1, reduced=10, full=10)
    seeds = range(study.pick(quick=1, reduced=1, full=2))
    trainings = [
        Training(pair, name, seed, share, n_checkpoints)
        for pair in reversed(CRITIC_STEPS)  # the longest first
        for name in NAMES
        for seed in seeds
    ]
    rows = [row for of_training in study.run(measure, trainings) for row in of_training]
    rows += [digits_row(seed) for seed in seeds]
    study.leave(rows, figure_of(rows), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
