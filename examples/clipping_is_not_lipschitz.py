"""Gradient clipping exists in every package: why penalise?

    python examples/clipping_is_not_lipschitz.py            # reduced, 1 minute on 2 cores
    python examples/clipping_is_not_lipschitz.py --full     # 4 minutes

A Wasserstein critic must be 1-Lipschitz: no slope above 1 anywhere. Clipping the gradient of its
weights (torch.nn.utils.clip_grad_norm_) says how far the optimiser may go in one step, and nothing
about the slope of the critic, which is the gradient by its input. This trains the same critic under
no constraint, clipped gradients, clipped weights, spectral normalisation and the gradient penalty,
and measures its largest slope on the way and what it makes of the distance.

The real samples are 8 Gaussians, the fakes are held: a generator that has collapsed to N(0, 0.2²)
in their middle. Adam divides a gradient by its own running size, so that clipping does little to
it; therefore gradients are clipped with plain SGD as well, at the same norm of 1. Adam's learning
rate and RMSprop's, with clipped weights, are 10 times those of the papers, because runs are short.

Sources: Arjovsky et al., "Wasserstein GAN", arXiv 1701.07875, for clipped weights; Miyato et al.,
"Spectral Normalization for GANs", arXiv 1802.05957; Gulrajani et al., "Improved Training of
Wasserstein GANs", arXiv 1704.00028, for the penalty.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gan.data import gaussians
from gan.held import dual, exact_distance, in_double
from gan.methods import METHODS, Method, critic_step
from gan.models import point_critic
from gan.pictures import FAKE, LINE, REAL
from gan.study import Row, Study, listed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH, BATCH_SIZE = 128, 256
HURRY = 10  # the learning rate, in those of the methods
SGD_RATE = 0.01
MAX_NORM = 1.0
FAKE_DEVIATION = 0.2
N_HELD_OUT = 1000
# From behind the fakes, which are at 0, through the mode of the real samples at √2, and beyond.
LINE_X = torch.linspace(-0.7, 2.3, 121, dtype=torch.float64)
MODE = 2**0.5
PLAIN = Method("no constraint")


@dataclass(frozen=True)
class Constraint:
    """What holds the critic, and how it is drawn."""

    colour: str
    line: str = "-"
    method: Method = PLAIN
    max_norm: float | None = None  # of the gradient of the weights
    sgd: bool = False
    spectral: bool = False


NOTHING, PENALTY = "no constraint", "gradient penalty"
CLIPPED_ADAM, CLIPPED_SGD = "clipped gradients, Adam", "clipped gradients, SGD"
CLIPPED_WEIGHTS, SPECTRAL = "clipped weights", "spectral norm"
CONSTRAINTS: dict[str, Constraint] = {
    NOTHING: Constraint(LINE, line=":"),
    CLIPPED_ADAM: Constraint(FAKE, max_norm=MAX_NORM),
    CLIPPED_SGD: Constraint("#ff7f0e", max_norm=MAX_NORM, sgd=True),
    CLIPPED_WEIGHTS: Constraint("#9467bd", method=METHODS["wgan"]),
    SPECTRAL: Constraint("#2ca02c", spectral=True),
    PENALTY: Constraint(REAL, method=METHODS["wgan-gp"]),
}


@dataclass(frozen=True)
class Training:
    constraint: str
    seed: int
    steps: int  # a power of 2


@dataclass(frozen=True)
class Profile:
    """A critic at the end, along LINE_X: divided by its largest slope, and 0 at the fakes."""

    training: Training
    values: np.ndarray


def measure(training: Training) -> tuple[list[Row], Profile]:
    """The rows of one training, one for each power of 2, and the critic at its end."""
    torch.manual_seed(training.seed)
    samples = gaussians("gaussians8")
    samples = samples[torch.randperm(len(samples))]
    real, rest = samples[:N_HELD_OUT], samples[N_HELD_OUT:]
    fake = held_fakes(N_HELD_OUT)
    distance = exact_distance(real, fake)
    constraint = CONSTRAINTS[training.constraint]
    critic = critic_under(constraint)
    optimizer = optimizer_of(critic, constraint)
    rows = []
    for step in range(1, training.steps + 1):
        batch = rest[torch.randint(len(rest), (BATCH_SIZE,))]
        fakes = held_fakes(BATCH_SIZE)
        critic_step(critic, optimizer, constraint.method, batch, fakes, constraint.max_norm)
        if step & (step - 1) == 0:
            found = dual(critic, real, fake)
            rows.append(
                {"constraint": training.constraint, "seed": training.seed, "step": step}
                | {"slope": found.slope, "gain": found.gain}
                | {"share": found.share(distance), "exact distance": distance}
            )
    return rows, Profile(training, profile(critic, rows[-1]["slope"]))


def held_fakes(n: int) -> Tensor:
    return FAKE_DEVIATION * torch.randn(n, 2)


def critic_under(constraint: Constraint) -> nn.Sequential:
    critic = point_critic(WIDTH)
    if constraint.spectral:
        for layer in critic:
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)
    return critic


def optimizer_of(critic: nn.Module, constraint: Constraint) -> torch.optim.Optimizer:
    if constraint.sgd:
        return torch.optim.SGD(critic.parameters(), lr=SGD_RATE)
    method = constraint.method
    return method.optimizer(critic.parameters(), HURRY * method.learning_rate)


def profile(critic: nn.Module, slope: float) -> np.ndarray:
    points = torch.stack([LINE_X, torch.zeros_like(LINE_X)], 1)
    with torch.no_grad():
        values = in_double(critic)(points)[:, 0] / slope
    return (values - values[LINE_X.abs().argmin()]).numpy()


def summary(rows: Sequence[Row]) -> str:
    last = max(row["step"] for row in rows)
    slopes = {name: at(rows, name, last, "slope") for name in CONSTRAINTS}
    growth = {name: slopes[name] / at(rows, name, last // 2, "slope") for name in CONSTRAINTS}
    return (
        f"{answer(slopes, growth)} After {last} steps the largest slope of the critic is"
        f" {short(slopes[CLIPPED_ADAM])} with Adam and {short(slopes[CLIPPED_SGD])} with SGD,"
        f" {short(growth[CLIPPED_ADAM])} and {short(growth[CLIPPED_SGD])} times as large as after"
        f" {last // 2} steps; without any constraint it is {short(slopes[NOTHING])},"
        f" {short(growth[NOTHING])} times as large."
        f" {others_in_words(rows, slopes)}"
    )


def answer(slopes: dict[str, float], growth: dict[str, float]) -> str:
    """A constraint that leaves the slope well above 1, or growing, holds nothing."""
    clipped = (CLIPPED_ADAM, CLIPPED_SGD)
    free = [name for name in clipped if slopes[name] > 2 or growth[name] > 1.2]
    if len(free) == len(clipped):
        return "Clipped gradients limit each step of the optimiser, not the critic."
    if free:
        return f"Clipped gradients did not hold the critic in one of two cases ({free[0]})."
    return "Here clipped gradients held the critic; this run does not say why to penalise."


def others_in_words(rows: Sequence[Row], slopes: dict[str, float]) -> str:
    """What limits the critic itself, and what the critic does with it."""
    last = max(row["step"] for row in rows)
    names = (CLIPPED_WEIGHTS, SPECTRAL, PENALTY)
    nearest = min(names, key=lambda name: abs(np.log(slopes[name])))
    ends = listed([f"{short(slopes[name])} with {name}" for name in names])
    shares = listed([f"{100 * at(rows, name, last, 'share'):.0f}" for name in names])
    return (
        f"It is {ends}; it should be 1, and {nearest} comes nearest. Gain / slope is {shares} % of"
        " the exact distance."
    )


def short(number: float) -> str:
    """Two digits."""
    return f"{number:#.2g}" if number < 10 else f"{float(f'{number:.2g}'):,.0f}"


def at(rows: Sequence[Row], name: str, step: int, column: str) -> float:
    """The median over the seeds."""
    chosen = [r[column] for r in rows if r["constraint"] == name and r["step"] == step]
    return float(np.median(chosen))


def draw(rows: Sequence[Row], profiles: Sequence[Profile]) -> Figure:
    figure = Figure(figsize=(12, 6.6), dpi=110, layout="constrained")
    axes = figure.subplot_mosaic(
        [["slopes", "line"], ["words", "words"]], height_ratios=[1, 0.24], width_ratios=[1.1, 1]
    )
    draw_slopes(axes["slopes"], rows)
    draw_profiles(axes["line"], profiles)
    figure.legend(
        *axes["slopes"].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=9
    )
    axes["words"].set_axis_off()
    words = textwrap.fill(summary(rows), 150)
    axes["words"].text(0.5, 0.95, words, ha="center", va="top", fontsize=10, linespacing=1.4)
    return figure


def draw_slopes(axes: Axes, rows: Sequence[Row]) -> None:
    steps = sorted({row["step"] for row in rows})
    for name, constraint in CONSTRAINTS.items():
        slopes = [at(rows, name, step, "slope") for step in steps]
        style: dict[str, Any] = {"color": constraint.colour, "linestyle": constraint.line}
        axes.plot(steps, slopes, "o", markersize=3, label=name, **style)
    axes.axhline(1, color=LINE, linewidth=0.8, linestyle="--")
    axes.set(
        title="largest slope of the critic (dashed: 1, as it should be)",
        xlabel="steps of the critic",
        ylabel="largest |∇D(x)|, score per unit of distance",
        xscale="log",
        yscale="log",
    )
    axes.grid(alpha=0.3)


def draw_profiles(axes: Axes, profiles: Sequence[Profile]) -> None:
    """The first seed."""
    x = LINE_X.numpy()
    for name, constraint in CONSTRAINTS.items():
        shown = next(p for p in profiles if p.training.constraint == name)
        axes.plot(x, shown.values, color=constraint.colour, linestyle=constraint.line)
    axes.plot([0, MODE], [0, MODE], color=LINE, linewidth=0.8, linestyle="--", label="slope 1")
    axes.axvspan(-FAKE_DEVIATION, FAKE_DEVIATION, color=FAKE, alpha=0.12, linewidth=0)
    axes.axvline(MODE, color=REAL, alpha=0.3, linewidth=4)
    axes.set(
        title="the critic from the fakes (red) to a real mode (blue)",
        xlabel="x, at y = 0",
        ylabel="(D(x) − D(0)) / largest slope",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    steps = study.pick(quick=2**4, reduced=2**11, full=2**13)
    seeds = study.pick(quick=1, reduced=2, full=3)
    trainings = [Training(name, seed, steps) for seed in range(seeds) for name in CONSTRAINTS]
    results = study.run(measure, trainings)
    rows = [row for rows, _ in results for row in rows]
    study.leave(rows, draw(rows, [shown for _, shown in results]), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
