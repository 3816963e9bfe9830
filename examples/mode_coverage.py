"""Which modes does a generator miss, and does the critic's loss tell how far off it is?

    python examples/mode_coverage.py            # reduced, 3 seeds, 2 to 3 minutes on 2 cores
    python examples/mode_coverage.py --full     # 3 seeds, 13 minutes

Trains GANs, with both generator losses and with and without instance noise, and WGANs on a grid of
25 Gaussians. A sample is good within 3 standard deviations of the nearest mode, as in Lin et al.,
"PacGAN", arXiv 1712.04086, section 4. There one good sample covers a mode; here 20 of 10000 do, a
twentieth of the mode's share, because 10000 samples spread evenly over the grid would already put 7
within each. During training the critic's loss is compared with the exact Wasserstein distance of
500 real and 500 generated samples, for Arjovsky et al., "Wasserstein GAN", arXiv 1701.07875, say in
section 4.2 with figures 3 and 4 that a WGAN's loss tells how good the samples are and a GAN's does
not.

All methods train alike, so that their losses and penalties make the difference: the same networks
and steps, and learning rates that fall linearly to 0, from 30 times the method's own because the
runs are short. The authors of WGAN-GP take 512 units, batches of 256 and 5 critic steps for each
generator step, which is 0.16 s for a step on one core; 128 units, batches of 128 and 2 critic steps
are 0.007 s, and the full size has 8000 steps of them. The reduced size has a quarter, which leaves
samples blurred. Penalties have the weights for point sets of train.py, λ = 0.1 as in the authors'
code. Nothing is averaged: the generator that is measured is the one that the critic has judged. Its
loss is that of training, without the penalty; where instance noise fades, the critic's task becomes
easier by itself.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gan.data import gaussians
from gan.held import exact_distance
from gan.methods import METHODS
from gan.options import settings_of
from gan.pictures import FAKE, LINE, REAL
from gan.run import METRICS, Run
from gan.study import Row, Study, from_to, listed, training_batches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR
from train import train

DATA = "gaussians25"
#: The modes as gan/data.py scales them.
SPACING, DEVIATION = 2 / 8**0.5, 0.05 / 8**0.5
MODES = torch.cartesian_prod(*[torch.arange(-2.0, 3.0) * SPACING] * 2)  # [25, 2]

NAMES = ("gan-minimax", "gan-minimax-noise", "gan", "gan-noise", "r1", "wgan", "wgan-gp", "wgan-lp")
PLAIN, PENALISED = ("gan-minimax", "gan"), ("r1", "wgan-gp", "wgan-lp")
REAL_SAMPLES = "real samples"  # the rows of real samples in the place of generated ones

HURRY = 30  # the first learning rate, in those of the methods; 10 leaves half of WGAN-GP blurred
WIDTH, BATCH_SIZE, N_CRITIC = 128, 128, 2

N_COUNTED, N_COVERING = 10_000, 20
N_COMPARED = 500
CHECKPOINTS, WARM_UP = 40, 4  # in the first tenth, the critic has still to learn
AVERAGED = 25  # steps whose losses are averaged, for one batch is noisy


@dataclass(frozen=True)
class Training:
    name: str  # of the method
    seed: int
    steps: int  # of the generator


def measure(training: Training) -> tuple[Row, Tensor]:
    """The row of one training, and generated samples for its picture."""
    run = new_run(training)
    real_batches = training_batches(run, gaussians(DATA))
    real = gaussians(DATA)[:N_COMPARED]
    schedules = [
        LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=training.steps)
        for optimizer in (run.critic_optimizer, run.generator_optimizer)
    ]
    every = max(1, training.steps // CHECKPOINTS)
    losses, smooth_losses, distances = [], [], []
    for values in train(run, real_batches):
        metrics = dict(zip(METRICS, values.tolist(), strict=True))
        losses.append(metrics["critic_loss"] - metrics["penalty"])
        if run.step % every == 0 and run.step > WARM_UP * every:
            smooth_losses.append(np.mean(losses[-AVERAGED:]))
            distances.append(exact_distance(real, run.generate(N_COMPARED)))
        for schedule in schedules:
            schedule.step()

    samples = run.generate(N_COUNTED)
    row = row_of(training.name, training.seed, samples, real)
    row["correlation"] = tracking(smooth_losses, distances)
    return row, samples[:1000]


def new_run(training: Training) -> Run:
    given = {"data": DATA, "method": training.name, "seed": training.seed, "steps": training.steps}
    given |= {"width": WIDTH, "batch_size": BATCH_SIZE, "n_critic": N_CRITIC, "ema": 0.0}
    given |= {"learning_rate": HURRY * METHODS[training.name].learning_rate}
    return Run(settings_of(given), MODES.shape[1:], torch.device("cpu"))


def real_row(seed: int) -> Row:
    """What a perfect generator would reach."""
    samples = gaussians(DATA)[(seed + 1) * N_COUNTED :][:N_COUNTED]
    return row_of(REAL_SAMPLES, seed, samples, gaussians(DATA)[:N_COMPARED])


def row_of(name: str, seed: int, samples: Tensor, real: Tensor) -> Row:
    counts = good_counts(samples)
    return {
        "method": name,
        "seed": seed,
        "modes": int((counts >= N_COVERING).sum()),
        "modes with a sample": int((counts > 0).sum()),
        "good": counts.sum().item() / len(samples),
        "distance": exact_distance(real, samples[:N_COMPARED]),
        "correlation": "",
    }


def good_counts(samples: Tensor) -> Tensor:
    """How many samples are within 3 standard deviations of each mode, [25]."""
    distances, nearest = torch.cdist(samples, MODES).min(1)
    return torch.bincount(nearest[distances <= 3 * DEVIATION], minlength=len(MODES))


def tracking(critic_losses: Sequence[float], distances: Sequence[float]) -> float:
    """The rank correlation: 1 if minus the loss rises and falls with the distance."""
    return float(stats.spearmanr(-np.array(critic_losses), distances).statistic)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean over the seeds, and its 95 % confidence interval by Student's t."""
    n, mean = len(values), values.mean()
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(mean), float(mean - half), float(mean + half)


def values_of(rows: Sequence[Row], name: str, quantity: str) -> np.ndarray:
    """The values of all seeds."""
    return np.array([row[quantity] for row in rows if row["method"] == name], dtype=float)


def draw(rows: Sequence[Row], samples: Sequence[Tensor]) -> Figure:
    """Above the samples of the first seed, below what was measured over all seeds."""
    figure = Figure(figsize=(12, 9.6), dpi=110, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
    for axes, name, shown in zip(above.subplots(2, 4).flat, NAMES, samples, strict=True):
        draw_samples(axes, shown, METHODS[name].title)
    panels = below.subplots(1, 4, sharey=True)
    draw_intervals(panels[0], rows, "modes", "modes covered, of 25", (0, 26))
    draw_intervals(panels[1], rows, "good", "share of good samples", (0, 1.03))
    draw_intervals(panels[2], rows, "distance", "exact distance $W_1$ at the end", (0.1, None))
    draw_intervals(panels[3], rows, "correlation", "rank correlation of\n−loss and $W_1$", (-1, 1))
    panels[0].set_yticks(range(len(NAMES)), [METHODS[name].title for name in NAMES])
    panels[0].invert_yaxis()
    above.suptitle("generated samples of the first seed, and the modes (rings, not to scale)")
    below.suptitle(
        "large: mean and 95 % confidence interval, small: seeds, dashed: real samples", fontsize=10
    )
    return figure


def draw_samples(axes: Axes, samples: Tensor, title: str) -> None:
    axes.scatter(*MODES.numpy().T, s=45, facecolors="none", edgecolors=REAL, linewidths=0.8)
    axes.scatter(*samples.numpy().T, s=2, color=FAKE, linewidths=0)
    limit = 2.7 * SPACING
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    outside = (samples.abs() > limit).any(1).double().mean().item()
    axes.set_title(f"{title} ({outside:.0%} outside)" if outside > 0.5 else title)


def draw_intervals(
    axes: Axes, rows: Sequence[Row], quantity: str, label: str, limits: tuple[float, float | None]
) -> None:
    """The quantity of each method; intervals are cut off at the limits."""
    for y, name in enumerate(NAMES):
        values = values_of(rows, name, quantity)
        mean, low, high = interval(values)
        axes.plot([low, high], [y, y], color=LINE, linewidth=1.5)
        axes.scatter(values, [y] * len(values), s=9, color=FAKE, zorder=2)
        axes.scatter(mean, y, s=40, color=LINE, zorder=3)
    if quantity == "correlation":
        axes.axvline(0, color=LINE, linewidth=0.8)
    else:
        axes.axvline(values_of(rows, REAL_SAMPLES, quantity).mean(), color=REAL, linestyle="--")
    if quantity == "distance":
        axes.set_xscale("log")
        axes.set_xticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", "30"])
        axes.minorticks_off()
    axes.set(xlabel=label, xlim=limits)
    axes.grid(alpha=0.3)


def summary(rows: Sequence[Row]) -> str:
    return f"{modes_in_words(rows)} {quality_in_words(rows)} {tracking_in_words(rows)}"


def modes_in_words(rows: Sequence[Row]) -> str:
    plain, penalised = (
        {name: interval(values_of(rows, name, "modes")) for name in names}
        for names in (PLAIN, PENALISED)
    )
    n_seeds = len(values_of(rows, "gan", "modes"))
    if min(low for _, low, _ in penalised.values()) > max(high for *_, high in plain.values()):
        verdict = "the 95 % intervals of the two groups do not overlap"
    elif min(mean for mean, *_ in penalised.values()) > max(mean for mean, *_ in plain.values()):
        verdict = "more, but the 95 % intervals of the two groups overlap"
    else:
        verdict = "not more in every pair"
    covered, covered_by_plain = (
        means_in_words([mean for mean, *_ in group.values()]) for group in (penalised, plain)
    )
    titles = listed([METHODS[name].title for name in PENALISED])
    good = listed([f"{100 * values_of(rows, name, 'good').mean():.0f}" for name in PENALISED])
    return (
        f"Of {len(MODES)} modes, the gradient penalties cover {covered}, the plain GANs"
        f" {covered_by_plain} (means of {n_seeds} seeds): {verdict}. {titles} put {good} % of their"
        " samples near a mode."
    )


def means_in_words(means: Sequence[float]) -> str:
    """From the fewest modes to the most."""
    if min(means) == len(MODES):
        return f"all {len(MODES)}"
    return from_to(f"{min(means):.1f}", f"{max(means):.1f}")


def quality_in_words(rows: Sequence[Row]) -> str:
    good = {name: values_of(rows, name, "good").mean() for name in (*NAMES, REAL_SAMPLES)}
    modes = {name: values_of(rows, name, "modes").mean() for name in NAMES}
    best, worst = max(NAMES, key=good.__getitem__), min(NAMES, key=good.__getitem__)
    noise = [noise_in_words(name, modes[name], modes[f"{name}-noise"]) for name in PLAIN]
    return (
        f"With instance noise, {'; '.join(noise)}. The share of good samples goes from"
        f" {100 * good[worst]:.0f} % ({METHODS[worst].title}) to {100 * good[best]:.0f} %"
        f" ({METHODS[best].title}, {modes[best]:.1f} modes), that of real samples is"
        f" {100 * good[REAL_SAMPLES]:.0f} %."
    )


def noise_in_words(name: str, without: float, with_noise: float) -> str:
    """The modes that the method covers with instance noise, and without."""
    before, after = f"{without:.1f}", f"{with_noise:.1f}"
    instead = ", as without" if before == after else f" instead of {before}"
    return f"{METHODS[name].title} covers {after} modes{instead}"


def tracking_in_words(rows: Sequence[Row]) -> str:
    intervals = {name: interval(values_of(rows, name, "correlation")) for name in NAMES}
    tracks = [name for name in NAMES if intervals[name][1] > 0]
    against = [name for name in NAMES if intervals[name][2] < 0]
    undecided = [name for name in NAMES if name not in tracks and name not in against]
    verdicts = {"follows it": tracks, "goes against it": against, "is undecided": undecided}
    said = [f"{verb} for {with_means(x, intervals)}" for verb, x in verdicts.items() if x]
    return (
        "By the 95 % interval of the rank correlation with the exact distance, the critic's loss,"
        f" sign turned, {'; '.join(said)}."
    )


def with_means(names: Sequence[str], intervals: dict[str, tuple[float, float, float]]) -> str:
    return ", ".join(f"{METHODS[name].title} ({intervals[name][0]:.2f})" for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    steps = study.pick(quick=6, reduced=2000, full=8000)
    seeds = study.pick(quick=2, reduced=3, full=3)
    trainings = [Training(name, seed, steps) for seed in range(seeds) for name in NAMES]
    rows_and_samples = study.run(measure, trainings)
    rows = [row for row, _ in rows_and_samples] + [real_row(seed) for seed in range(seeds)]
    samples = [shown for _, shown in rows_and_samples[: len(NAMES)]]
    study.leave(rows, draw(rows, samples), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
