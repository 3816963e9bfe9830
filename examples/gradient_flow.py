"""Does the gradient reach the first layers of a deep critic, or does it explode or vanish?

    python examples/gradient_flow.py            # reduced, 1 minute on 2 cores
    python examples/gradient_flow.py --full     # 3 minutes

Trains critics of 12 layers on the Swiss roll against fakes that are held at real samples plus unit
Gaussian noise, with the weights clipped at three bounds and with the gradient penalty. Measured is
then the gradient of the Wasserstein loss, without the penalty, with respect to the activations of
each layer, as its norm over a batch by that at the scores; and how many weights lie at the bounds.

Each layer starts from He's uniform distribution, which keeps the gradient's size; where it reaches
beyond ±c, it is narrowed to ±c. So no weight begins cut off, and those at a bound in the end were
pushed there. Where the gradient is smaller than RMSprop's epsilon (1e-8), weights do not move.

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, section 3.2 and
figure 1. There a generator of 12 layers is trained too. Here the layers have 64 units, and the
learning rates are 5 times those of the methods, because the runs are short.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from gan.data import TensorSamples, batches, swissroll
from gan.held import in_double, with_noise
from gan.methods import METHODS, Method, critic_step
from gan.pictures import LINE, REAL
from gan.study import Row, Study, listed, seeds_in_words
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor, nn

from wgan_fast import wasserstein_critic_loss

DEPTH, WIDTH = 12, 64
BATCH_SIZE, N_MEASURED = 64, 512
HURRY = 5  # the learning rate, in those of the methods
PENALTY = "gradient penalty"
SETTINGS: dict[str, Method] = {
    "c = 0.1": replace(METHODS["wgan"], clip=0.1),
    "c = 0.01": replace(METHODS["wgan"], clip=0.01),
    "c = 0.001": replace(METHODS["wgan"], clip=0.001),
    PENALTY: METHODS["wgan-gp"],
}
CLIPPINGS = [name for name, method in SETTINGS.items() if method.clip is not None]
COLOURS = dict(zip(SETTINGS, ("#d62728", "#ff7f0e", "#9467bd", REAL), strict=True))
# In units of the bound. The bounds themselves are in the middle of the outermost bins.
BINS = np.linspace(-1.025, 1.025, 42)


@dataclass(frozen=True)
class Training:
    setting: str
    seed: int
    steps: int


@dataclass(frozen=True)
class Histogram:
    """The shares of the hidden weights in the bins ``limit * BINS``, before and after training."""

    training: Training
    limit: float
    before: np.ndarray
    after: np.ndarray


def deep_critic(clip: float) -> nn.Sequential:
    """[B, 2] to scores [B, 1]; the weights are uniform within He's bound or ±clip."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([2, *[WIDTH] * (DEPTH - 1), 1]):
        linear = nn.Linear(n_in, n_out)
        bound = min(math.sqrt(6 / n_in), clip)
        nn.init.uniform_(linear.weight, -bound, bound)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def measure(training: Training) -> tuple[list[Row], Histogram]:
    """The rows of one training, one for each layer, and the histogram of its weights."""
    torch.manual_seed(training.seed)
    clip = SETTINGS[training.setting].clip
    critic = deep_critic(math.inf if clip is None else clip)
    before = weights_of(critic)
    train(critic, training)
    after = weights_of(critic)

    roll = swissroll()
    real = roll[torch.randperm(len(roll))[:N_MEASURED]]
    norms = layer_gradient_norms(critic, real, with_noise(real))
    rows: list[Row] = [
        {"setting": training.setting, "seed": training.seed, "layer": layer, "gradient norm": norm}
        for layer, norm in enumerate(norms)
    ]
    # The weights of layer 1 lead from the input, layer 0, to layer 1.
    for row, start, end in zip(rows[1:], before, after, strict=True):
        row["at bound before"] = share_at_bound(start, clip)
        row["at bound after"] = share_at_bound(end, clip)

    start, end = hidden(before), hidden(after)
    limit = end.abs().max().item() if clip is None else clip
    return rows, Histogram(training, limit, shares(limit, start), shares(limit, end))


def train(critic: nn.Sequential, training: Training) -> None:
    """The critic's steps of algorithm 1 of the papers, with clipping or with the penalty."""
    method = SETTINGS[training.setting]
    optimizer = method.optimizer(critic.parameters(), HURRY * method.learning_rate)
    real_batches = batches(
        TensorSamples(swissroll()),
        batch_size=BATCH_SIZE,
        seed=training.seed,
        batches_used=0,
        device=torch.device("cpu"),
    )
    for _ in range(training.steps):
        real = next(real_batches)
        critic_step(critic, optimizer, method, real, with_noise(real))


def layer_gradient_norms(critic: nn.Sequential, real: Tensor, fake: Tensor) -> list[float]:
    """The norm of the gradient of the Wasserstein loss at each layer, from the input to the scores.

    Each is the norm over the whole batch, in units of that at the scores, which does not depend on
    the critic. The first is then the slope of the critic, as the root of its mean square.
    """
    critic = in_double(critic)  # single precision would lose the square of 1e-25
    activations = [torch.cat([real, fake]).double().requires_grad_()]
    for i in range(0, len(critic), 2):  # a linear map and its ReLU; the last one has none
        activations.append(critic[i : i + 2](activations[-1]))
    scores = activations[-1]
    loss = wasserstein_critic_loss(scores[: len(real)], scores[len(real) :])
    gradients = torch.autograd.grad(loss, activations)
    return [(gradient.norm() / gradients[-1].norm()).item() for gradient in gradients]


def weights_of(critic: nn.Sequential) -> list[Tensor]:
    """A copy of the weights of each layer."""
    return [layer.weight.detach().clone() for layer in critic if isinstance(layer, nn.Linear)]


def hidden(weights: Sequence[Tensor]) -> Tensor:
    """Those between hidden layers, all of one shape and initialised alike, flat."""
    return torch.cat([weight.flatten() for weight in weights[1:-1]])


def share_at_bound(weight: Tensor, clip: float | None) -> float:
    """The share of the weights within 1 % of ±clip or, where none clips, of ± their largest."""
    bound = weight.abs().max().item() if clip is None else clip
    return (weight.abs() >= 0.99 * bound).double().mean().item()


def shares(limit: float, weights: Tensor) -> np.ndarray:
    """The share of the weights in each bin, [len(BINS) - 1]."""
    counts, _ = np.histogram(weights.double().numpy() / limit, BINS)
    return counts / len(weights)


def values_of(rows: Sequence[Row], setting: str, column: str, layers: range) -> np.ndarray:
    """One column of the table, [seeds, layers]."""
    chosen = [r[column] for r in rows if r["setting"] == setting and r["layer"] in layers]
    return np.array(chosen).reshape(-1, len(layers))


def summary(rows: Sequence[Row]) -> str:
    ratios = {setting: first_to_last(rows, setting) for setting in SETTINGS}
    numbers = listed([rounded(ratio) for ratio in ratios.values()])
    return (
        f"{flow_in_words(ratios)} From the last hidden layer back to the first its norm is"
        f" multiplied by {numbers} ({seeds_in_words(rows)}). {weights_in_words(rows)}"
    )


def first_to_last(rows: Sequence[Row], setting: str) -> float:
    """The gradient's norm at the first hidden layer by that at the last, the seeds' median."""
    norms = values_of(rows, setting, "gradient norm", range(1, DEPTH))
    return float(np.median(norms[:, 0] / norms[:, -1]))


def flow_in_words(ratios: dict[str, float]) -> str:
    """The settings by what happens to the gradient; within a factor of 10 it keeps its size."""
    fates = {
        "explodes": [s for s, ratio in ratios.items() if ratio > 10],
        "vanishes": [s for s, ratio in ratios.items() if ratio < 0.1],
        "keeps its size": [s for s, ratio in ratios.items() if 0.1 <= ratio <= 10],
    }
    said = [f"{fate} with {together(found)}" for fate, found in fates.items() if found]
    return f"In a critic of {DEPTH} layers the gradient {listed(said)}."


def together(settings: Sequence[str]) -> str:
    bounds = [f"{SETTINGS[setting].clip:g}" for setting in settings if setting in CLIPPINGS]
    words = [f"weights clipped at {listed(bounds)}"] if bounds else []
    return listed([*words, f"the {PENALTY}"] if PENALTY in settings else words)


def weights_in_words(rows: Sequence[Row]) -> str:
    """Whether training takes a tenth of the weights or more to the bounds."""

    def share(setting: str, column: str) -> float:
        return float(np.median(values_of(rows, setting, column, range(2, DEPTH)).mean(1)))

    pushed, others = [], []
    for setting in CLIPPINGS:
        before, after = share(setting, "at bound before"), share(setting, "at bound after")
        (pushed if after - before >= 0.1 else others).append(
            f"{setting} ({100 * before:.0f} → {100 * after:.0f} %)"
        )
    if not pushed:
        return f"Training pushes few weights to within 1 % of ±c: {listed(others)}."
    but = f", but not for {listed(others)}" if others else ""
    return f"Training pushes weights to within 1 % of ±c for {listed(pushed)}{but}."


def rounded(ratio: float) -> str:
    """Two digits, or the power of ten where there are many; 0 where all units are dead."""
    if ratio == 0:
        return "0"
    exponent = round(math.log10(ratio))
    if abs(exponent) <= 2:
        return f"{ratio:.2g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def draw(rows: Sequence[Row], histograms: Sequence[Histogram]) -> Figure:
    """Left the gradient's norm at each layer, right the weights of the first seed."""
    figure = Figure(figsize=(12, 5), dpi=110, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    draw_norms(left.subplots(), rows)
    panels = right.subplots(2, 2).flat
    for axes, setting in zip(panels, SETTINGS, strict=True):
        draw_weights(axes, next(h for h in histograms if h.training.setting == setting))
    panels[0].legend(loc="upper center", fontsize=8)
    right.suptitle("weights between the hidden layers of the critic")
    return figure


def draw_norms(axes: Axes, rows: Sequence[Row]) -> None:
    """The median of the seeds as a line, all of them as a band."""
    layers = range(DEPTH + 1)
    for setting, colour in COLOURS.items():
        norms = values_of(rows, setting, "gradient norm", layers)
        label = f"clipping, {setting}" if setting in CLIPPINGS else setting
        axes.plot(layers, np.median(norms, 0), "o-", color=colour, markersize=4, label=label)
        axes.fill_between(layers, norms.min(0), norms.max(0), color=colour, alpha=0.25, linewidth=0)
    axes.set(
        title="gradient of the critic's loss with respect to its activations",
        xlabel=f"layer of the critic (0: its input, {DEPTH}: its score)",
        ylabel="norm of the gradient, relative to that at the score",
        yscale="log",
        xticks=layers,
    )
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def draw_weights(axes: Axes, histogram: Histogram) -> None:
    setting = histogram.training.setting
    edges = histogram.limit * BINS
    axes.stairs(histogram.after, edges, fill=True, color=COLOURS[setting], label="after training")
    axes.stairs(histogram.before, edges, color=LINE, linestyle=":", label="before")
    axes.set_title(f"clipping, {setting}" if setting in CLIPPINGS else setting, fontsize=10)
    axes.set(xlabel="weight", ylabel="share of the weights", ylim=(0, None))


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    steps = study.pick(quick=5, reduced=1500, full=5000)
    seeds = study.pick(quick=2, reduced=3, full=5)
    trainings = [Training(setting, seed, steps) for seed in range(seeds) for setting in SETTINGS]
    results = study.run(measure, trainings)
    rows = [row for rows, _ in results for row in rows]
    study.leave(rows, draw(rows, [histogram for _, histogram in results]), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
