"""Which critic does clipping find, and which the gradient penalty?

    python examples/value_surface.py            # reduced, 1 minute on 2 cores
    python examples/value_surface.py --full     # 5 minutes

Trains critics on 8 Gaussians, 25 Gaussians and the Swiss roll at the scales of the authors' code,
with the fakes held at real samples plus unit Gaussian noise, and draws their contours. The number
for them is the share of the Wasserstein distance that a critic reaches: its gain, mean D(real) −
mean D(fake), divided by its largest slope and by the exact distance. A critic that uses its
capacity has its largest slope nearly everywhere, one that does not only in places.

Gain, slope and exact distance are of the same samples, which the critic was not trained on, so that
the share is at most 1. No critic that does not know these samples reaches 1: the exact distance of
finite samples is larger, on average, than that of their distributions. By how much is seen from the
exact critic of as many other samples, which has a slope of 1 and would reach 1 on its own. How far
samples are apart by themselves is the ``floor``, the exact distance of two samples of the fakes.
The slope is the largest that was found: a critic's Lipschitz constant may be larger, and its share
smaller. One steep place in thousands lowers the share of the whole critic; the median slope beside
it tells how much of the loss that is.

Around each mode the optimal critic is a cone. On the way there from one wide cone, slopes between
the modes fall below 1, which the penalty works against: with λ = 10 few of the 25 modes form. With
a weight that rises from 0.1 to 100 they form first, and slopes come near 1 afterwards. What is then
missing is at single steep places and at the edges between cones, which the networks round off.

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, section 3.1 and
figure 1; λ = 10 as in its algorithm 1, and 0.1 as in the authors' code for these sets. Other than
there, λ rises, critics have layers of 128 units, and learning rates begin at 30 times those of the
methods and fall to 0, because the runs are short.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gan.data import POINT_SETS, gaussians, swissroll
from gan.held import ExactCritic, dual, exact_distance, in_double, with_noise
from gan.methods import METHODS, Method, critic_step
from gan.models import point_critic
from gan.pictures import FAKE, REAL
from gan.study import Row, Study, listed, seeds_in_words
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

WIDTH, BATCH_SIZE = 128, 256
HURRY = 30  # the learning rate at the beginning, in those of the methods
TITLES = dict(zip(POINT_SETS, ("8 Gaussians", "25 Gaussians", "Swiss roll"), strict=True))
CLIPPING = "clipping, c = 0.01"  # the bound of the paper that proposed it
CONSTANT = "penalty, λ = 10"
RISING = "penalty, λ rising to 100"
EXACT = "exact critic of other samples"
FIRST_WEIGHT = 0.1  # of the rising penalty, in the authors' code the weight for these sets
# The learning rate in proportion to the bound: weights take as many steps from end to end.
SETTINGS: dict[str, Method] = {
    CLIPPING: METHODS["wgan"],
    "clipping, c = 0.03": replace(METHODS["wgan"], clip=0.03, learning_rate=1.5e-4),
    "clipping, c = 0.1": replace(METHODS["wgan"], clip=0.1, learning_rate=5e-4),
    CONSTANT: METHODS["wgan-gp"],
    RISING: replace(METHODS["wgan-gp"], weight=100.0),
}
CLIPPINGS = [name for name, method in SETTINGS.items() if method.clip is not None]
SHOWN = (CLIPPING, CONSTANT, RISING, EXACT)
TICKS = torch.linspace(-2.6, 2.6, 100)  # of the pictures
N_SHOWN = 200


@dataclass(frozen=True)
class Training:
    data: str
    setting: str
    seed: int
    steps: int
    n_held_out: int


@dataclass(frozen=True)
class Surface:
    """What a panel shows: the critic's values on a grid, and some samples."""

    training: Training
    values: np.ndarray
    real: np.ndarray
    fake: np.ndarray


def measure(training: Training) -> tuple[Row, Surface]:
    """The row of one critic, and its surface."""
    torch.manual_seed(training.seed)
    samples = swissroll() if training.data == "swissroll" else gaussians(training.data)
    samples = samples[torch.randperm(len(samples))]
    real, behind_fake, others, rest = samples.split(
        [training.n_held_out] * 3 + [len(samples) - 3 * training.n_held_out]
    )
    fake = with_noise(behind_fake)
    floor = exact_distance(fake, with_noise(others))
    critic = trained(training, rest)
    found, distance = dual(critic, real, fake), exact_distance(real, fake)
    row = {
        "data": training.data,
        "method": training.setting,
        "seed": training.seed,
        "gain": found.gain,
        "slope": found.slope,
        "median slope": found.median_slope,
        "share": found.share(distance),
        "exact distance": distance,
        "floor": floor,
    }
    shown = (sample[:N_SHOWN].numpy() for sample in (real, fake))
    return row, Surface(training, values_on_grid(critic), *shown)


def trained(training: Training, samples: Tensor) -> nn.Module:
    """The critic of this setting, which has seen these samples only."""
    if training.setting == EXACT:
        real, behind_fake = samples[: 2 * training.n_held_out].chunk(2)
        return ExactCritic(real, with_noise(behind_fake))
    critic, method = point_critic(WIDTH), SETTINGS[training.setting]
    first_weight = FIRST_WEIGHT if training.setting == RISING else method.weight
    train(critic, method, samples, training.steps, first_weight)
    return critic


def train(
    critic: nn.Module, method: Method, samples: Tensor, steps: int, first_weight: float
) -> None:
    """To optimality: the generator is held, and the learning rate falls to 0."""
    optimizer = method.optimizer(critic.parameters(), HURRY * method.learning_rate)
    decay = LinearLR(optimizer, 1, 0, steps)
    for weight in weights(first_weight, method.weight, steps):
        real, behind_fake = samples[torch.randint(len(samples), (2, BATCH_SIZE))]
        critic_step(critic, optimizer, method, real, with_noise(behind_fake), weight=weight)
        decay.step()


def weights(first: float, last: float, steps: int) -> list[float]:
    """Of the penalty in each step: by the same factor from one to the next."""
    return [float(weight) for weight in np.geomspace(first, last, steps)] if last else [0.0] * steps


def values_on_grid(critic: nn.Module) -> np.ndarray:
    """[y, x]"""
    x, y = torch.meshgrid(TICKS, TICKS, indexing="xy")
    with torch.no_grad():
        values = in_double(critic)(torch.stack([x, y], -1).view(-1, 2).double())
    return values.view(x.shape).numpy()


def summary(rows: Sequence[Row]) -> str:
    sets = list(dict.fromkeys(row["data"] for row in rows))
    of = {name: [share(rows, data, name) for data in sets] for name in (*SETTINGS, EXACT)}
    clipping = [max(shares) for shares in zip(*(of[name] for name in CLIPPINGS), strict=True)]
    penalty = [min(shares) for shares in zip(of[CONSTANT], of[RISING], strict=True)]
    by_median = [of_median_slope(rows, data, RISING) for data in sets]
    distances, floors = (
        [median(rows, data, RISING, column) for data in sets]
        for column in ("exact distance", "floor")
    )
    return (
        f"{verdict(penalty, clipping)}. On {listed([TITLES[data] for data in sets])} their share is"
        f" {percent(of[CONSTANT])} with λ = 10 and {percent(of[RISING])} with λ rising from 0.1 to"
        f" 100, against {percent(of[CLIPPING])} with c = 0.01 and {percent(clipping)}"
        f" with the best of {len(CLIPPINGS)} bounds ({seeds_in_words(rows)}). A share is the gain"
        " in the dual objective for each unit of the largest slope found, relative to the exact"
        f" distance of the same samples, {numbers(distances)}; two samples of the same fakes are"
        f" {numbers(floors)} apart. The exact critic of as many other samples reaches"
        f" {percent(of[EXACT])}; by the median slope instead of the largest, rising λ would reach"
        f" {percent(by_median)}."
    )


def verdict(penalty: Sequence[float], clipping: Sequence[float]) -> str:
    """By the shares on all sets: the worse penalty, and clipping with the best bound for each."""
    ahead = sum(p > c for p, c in zip(penalty, clipping, strict=True))
    if ahead == len(penalty):
        return (
            "Critics with the penalty reach a larger share of the distance than any with clipped"
            " weights"
        )
    if ahead == 0:
        return (
            "No critic with the penalty reaches a larger share of the distance than the best with"
            " clipped weights"
        )
    return (
        "Critics with the penalty reach a larger share of the distance than the best with clipped"
        f" weights on {ahead} of {len(penalty)} sets"
    )


def of_median_slope(rows: Sequence[Row], data: str, setting: str) -> float:
    """The share, were the median slope the largest; more than 1 is possible then."""
    chosen = [row for row in rows if (row["data"], row["method"]) == (data, setting)]
    return float(np.median([row["share"] * row["slope"] / row["median slope"] for row in chosen]))


def share(rows: Sequence[Row], data: str, setting: str) -> float:
    return median(rows, data, setting, "share")


def median(rows: Sequence[Row], data: str, setting: str, column: str) -> float:
    """Over the seeds."""
    chosen = [r[column] for r in rows if (r["data"], r["method"]) == (data, setting)]
    return float(np.median(chosen))


def percent(shares: Sequence[float]) -> str:
    return f"{listed([f'{100 * share:.0f}' for share in shares])} %"


def numbers(values: Sequence[float]) -> str:
    return listed([f"{value:.2f}" for value in values])


def draw(rows: Sequence[Row], surfaces: Sequence[Surface]) -> Figure:
    """The critics of the first seed; the shares in the titles are theirs too."""
    figure = Figure(figsize=(12.4, 9.8), dpi=90, layout="constrained")
    panels = figure.subplots(len(TITLES), len(SHOWN), sharex=True, sharey=True)
    by_setting: dict[tuple[str, str], tuple[Row, Surface]] = {}
    for row, surface in zip(rows, surfaces, strict=True):
        by_setting.setdefault((row["data"], row["method"]), (row, surface))
    for line, data in zip(panels, TITLES, strict=True):
        for axes, setting in zip(line, SHOWN, strict=True):
            draw_surface(axes, *by_setting[data, setting])
        line[0].set_ylabel(TITLES[data], fontsize=12)
    for axes, setting in zip(panels[0], SHOWN, strict=True):
        axes.set_title(f"{setting}\n{axes.get_title()}", fontsize=10)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, markerscale=2.5)
    return figure


def draw_surface(axes: Axes, row: Row, surface: Surface) -> None:
    """Contours of the critic's value, equal steps apart, the higher the lighter."""
    low, high = surface.values.min(), surface.values.max()
    levels, ticks = np.linspace(low, high, 17), TICKS.numpy()
    # Black would hide the samples: the lowest value is a grey halfway to it.
    axes.contourf(ticks, ticks, surface.values, levels, cmap="Greys_r", vmin=2 * low - high)
    style: dict[str, Any] = {
        "colors": "#888888",
        "linestyles": "solid",
        "linewidths": 0.6,
        "antialiased": False,
    }
    axes.contour(ticks, ticks, surface.values, levels, **style)
    dots: dict[str, Any] = {"linewidths": 0, "zorder": 3}  # above the lines
    axes.scatter(*surface.fake.T, s=4, color=FAKE, label="fake: real + unit noise", **dots)
    axes.scatter(*surface.real.T, s=7, color=REAL, label="real", **dots)
    edges = (ticks[0], ticks[-1])
    axes.set(xlim=edges, ylim=edges, aspect="equal", xticks=range(-2, 3), yticks=range(-2, 3))
    title = f"share {100 * row['share']:.0f} %, largest slope {row['slope']:.2g}"
    axes.set_title(title, fontsize=10)


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    steps = study.pick(quick=10, reduced=2000, full=4000)
    seeds = study.pick(quick=1, reduced=1, full=3)
    n_held_out = study.pick(quick=300, reduced=2000, full=2000)
    trainings = [
        Training(data, setting, seed, steps, n_held_out)
        for seed in range(seeds)
        for data in POINT_SETS
        for setting in (*SETTINGS, EXACT)
    ]
    results = study.run(measure, trainings)
    rows = [row for row, _ in results]
    study.leave(rows, draw(rows, [surface for _, surface in results]), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
