"""Which methods still train when the networks are poorly designed?

    python examples/architectures.py            # 1 seed, a minute on 2 cores, too short for WGANs
    python examples/architectures.py --full     # 3 seeds, 8 minutes

Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, figure 2 and table 2,
train a GAN, a WGAN with clipped weights and WGAN-GP over several designs: where the design is less
good, WGAN-GP still gives good samples and the GAN fails. Here R3GAN's losses and penalties are
tried as well, and the data are scikit-learn's digits (8x8 pixels). The networks are those of
gan/architectures.py, the same for all methods and without a normalisation in the critic, where the
GAN of the paper has one. Each method has its own number of critic steps for each generator step and
the same number of critic steps in all. Learning rates are HURRY times the method's own, for the
runs are short. Samples are of the averaged generator.

Each seed holds out a third of the digits of its own. The kernel distance to these is the unbiased
MMD² with KID's kernel, on the last features of the classifier of gan/inception_score.py, which
knows the training digits alone: on pixels, as in sample_quality.py, it hardly tells noise of the
right mean from digits. A run fails if its distance is above that of a trivial generator, which
draws each pixel from that pixel's values in the training digits, independent of all other pixels;
or if it covers fewer classes than training digits do (a class is covered by 2 % of the samples). A
cell fails if most of its seeds do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from gan.architectures import ARCHITECTURES, Architecture
from gan.data import SplitDigits
from gan.inception_score import class_probabilities, covered_classes, last_features
from gan.kernel_distance import kernel_distance, over_seeds
from gan.methods import METHODS
from gan.options import settings_of
from gan.pictures import FAKE, LINE, REAL, image_grid
from gan.quality import classified_digits
from gan.run import Settings
from gan.study import Row, Study, Unwatched, listed, plus_minus, training_batches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from train import train

NAMES = ("gan", "wgan", "wgan-gp", "r3gan")
BASELINE = "baseline"
TRAINING, TRIVIAL = "training digits", "independent pixels"  # what nothing is trained for
SIZE, WIDTH, BATCH_SIZE = 8, 16, 32
HURRY = 8  # the learning rate, in those of the methods
N_SHOWN = 36


@dataclass(frozen=True)
class Item:
    """One training, or one of the samples that nothing is trained for."""

    architecture: str  # empty for the latter
    name: str  # of the method or the samples
    seed: int
    critic_steps: int = 0


class Designed(Unwatched):
    """A run of the networks of an architecture."""

    def __init__(self, architecture: Architecture, settings: Settings):
        self.architecture = architecture
        super().__init__(settings, (1, SIZE, SIZE), torch.device("cpu"))

    def new_networks(self, shape: Sequence[int]) -> tuple[nn.Module, nn.Module]:
        return self.architecture.networks(shape, self.settings.width)


def measure(item: Item) -> tuple[Row, Tensor]:
    """The row of one item, and samples for the picture."""
    digits = classified_digits(SIZE, item.seed).digits
    if item.name in METHODS:
        samples = trained_samples(item, digits)
    else:
        samples = samples_without_training(item, digits.training)
    return row_of(item, samples), samples[:N_SHOWN]


def row_of(item: Item, samples: Tensor) -> Row:
    digits, classifier, _ = classified_digits(SIZE, item.seed)
    samples = samples.nan_to_num(0.0)  # of a training that diverged: grey
    x, y = (last_features(classifier, images) for images in (samples, digits.held_out))
    distance, error = kernel_distance(x.numpy(), y.numpy())
    x, y = (images.flatten(1).double() for images in (samples, digits.held_out))
    on_pixels, _ = kernel_distance(x.numpy(), y.numpy())
    return {
        "architecture": item.architecture,
        "method": item.name,
        "seed": item.seed,
        "critic steps": item.critic_steps,
        "distance": distance,
        "error": error,
        "distance on pixels": on_pixels,
        "classes": covered_classes(class_probabilities(classifier, samples)),
    }


def trained_samples(item: Item, digits: SplitDigits) -> Tensor:
    run = new_run(item)
    for _ in train(run, training_batches(run, digits.training)):
        pass
    return run.generate(len(digits.training))


def new_run(item: Item) -> Designed:
    given = {"data": "digits", "method": item.name, "seed": item.seed}
    given |= {"size": SIZE, "width": WIDTH, "batch_size": BATCH_SIZE}
    given |= {"steps": item.critic_steps // METHODS[item.name].n_critic}
    # Such short runs would lag behind themselves with the average of train.py.
    given |= {"ema": 0.98, "learning_rate": HURRY * METHODS[item.name].learning_rate}
    return Designed(ARCHITECTURES[item.architecture], settings_of(given))


def samples_without_training(item: Item, training: Tensor) -> Tensor:
    if item.name == TRAINING:
        return training
    generator = torch.Generator().manual_seed(item.seed)
    chosen = torch.randint(len(training), training.shape, generator=generator)
    return training.gather(0, chosen)  # each pixel from an image of its own


def of_item(rows: Sequence[Row], architecture: str, name: str) -> list[Row]:
    """The rows of all seeds; those that nothing is trained for have no architecture."""
    return [row for row in rows if (row["architecture"], row["method"]) == (architecture, name)]


def fails(rows: Sequence[Row], row: Row, quantity: str = "distance") -> bool:
    """Whether the run of this row does, by the rule above."""
    trivial, training = (
        next(other for other in of_item(rows, "", name) if other["seed"] == row["seed"])
        for name in (TRIVIAL, TRAINING)
    )
    return row[quantity] > trivial[quantity] or row["classes"] < training["classes"]


@dataclass(frozen=True)
class Cell:
    """A method with an architecture, over the seeds."""

    distance: float
    error: float
    failing: int  # seeds
    seeds: int

    @property
    def fails(self) -> bool:
        return self.failing > self.seeds / 2

    @property
    def text(self) -> str:
        value = plus_minus(self.distance, self.error)
        return f"{value}, {self.failing} of {self.seeds} fail" if self.failing else value


def cell_of(rows: Sequence[Row], architecture: str, name: str, quantity: str = "distance") -> Cell:
    seeds = of_item(rows, architecture, name)
    distance, error, _ = over_seeds([x["distance"] for x in seeds], [x["error"] for x in seeds])
    return Cell(distance, error, sum(fails(rows, x, quantity) for x in seeds), len(seeds))


def failing(rows: Sequence[Row], name: str, quantity: str = "distance") -> list[str]:
    """The architectures with which most seeds of the method fail."""
    return [x for x in ARCHITECTURES if cell_of(rows, x, name, quantity).fails]


def figure_of(rows: Sequence[Row], samples: dict[tuple[str, str], Tensor]) -> Figure:
    """Samples of the first seed by method and architecture, with the numbers of all seeds."""
    figure = Figure(figsize=(13.6, 8.8), dpi=90, layout="constrained")
    panels = figure.subplots(len(NAMES), len(ARCHITECTURES) + 1)
    for (i, name), (j, architecture) in product(enumerate(NAMES), enumerate(ARCHITECTURES)):
        cell = cell_of(rows, architecture, name)
        draw(panels[i, j], samples[architecture, name], cell.text, FAKE if cell.fails else LINE)
    for axes, name in zip(panels[:, -1], (TRAINING, TRIVIAL), strict=False):
        draw(axes, samples["", name], f"{name}, {cell_of(rows, '', name).text}", REAL)
    for axes in panels[2:, -1]:
        axes.set_axis_off()
    for axes, architecture in zip(panels[0], ARCHITECTURES.values(), strict=False):
        label(axes, architecture.title, above=True)
    for axes, name in zip(panels[:, 0], NAMES, strict=True):
        label(axes, METHODS[name].title, above=False)
    figure.supxlabel(
        "kernel distance to held-out digits ± standard error over the seeds; red: most seeds fail",
        fontsize=10,
    )
    return figure


def draw(axes: Axes, samples: Tensor, text: str, colour: str) -> None:
    image_grid(axes, samples, "", most=6)
    axes.set_title(text.replace(", ", "\n"), color=colour, fontsize=9.5)


def label(axes: Axes, text: str, above: bool) -> None:
    """The name of a column above its first panel, or that of a row beside it."""
    x, y = (0.5, 1.38) if above else (-0.1, 0.5)
    place = {"transform": axes.transAxes, "rotation": 0 if above else 90}
    axes.text(x, y, text, ha="center", va="center", weight="bold", fontsize=10.5, **place)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """A header, and a line for each architecture."""
    lines = [
        [
            ARCHITECTURES[architecture].title.replace("\n", " "),
            *(cell_of(rows, architecture, name).text for name in NAMES),
        ]
        for architecture in ARCHITECTURES
    ]
    return [["kernel distance ± standard error", *(METHODS[name].title for name in NAMES)], *lines]


def words_of(architectures: Sequence[str]) -> str:
    """As after "with"."""
    return listed([ARCHITECTURES[x].words for x in architectures]) if architectures else "none"


def summary(rows: Sequence[Row]) -> str:
    parts = claim_in_words, failures_in_words, baseline_in_words, distances_in_words
    return " ".join(part(rows) for part in parts)


def claim_in_words(rows: Sequence[Row]) -> str:
    """What the paper says is of the designs beside the baseline."""
    gan, wgan_gp = (
        [x for x in failing(rows, name) if x != BASELINE] for name in ("gan", "wgan-gp")
    )
    as_claimed = [x for x in gan if x not in wgan_gp]
    reverse = [x for x in wgan_gp if x not in gan]
    if as_claimed and not wgan_gp:
        return (
            "As the paper says, WGAN-GP fails with no design and the GAN with some:"
            f" {words_of(as_claimed)}."
        )
    if as_claimed:
        return (
            f"In part as the paper says: with {words_of(as_claimed)} the GAN fails and WGAN-GP does"
            f" not, but WGAN-GP fails with {words_of(wgan_gp)}."
        )
    text = "What the paper says does not show on digits: with no design does only the GAN fail"
    return f"{text}, and with {words_of(reverse)} only WGAN-GP does." if reverse else f"{text}."


def failures_in_words(rows: Sequence[Row]) -> str:
    of_methods = [
        f"{METHODS[x].title} fails with {words_of(failing(rows, x))} ({runs(rows, x)})"
        for x in NAMES
    ]
    n_seeds = len(of_item(rows, "", TRIVIAL))
    seeds = f"most of {n_seeds} seeds" if n_seeds > 1 else "one seed"
    return f"Of {len(ARCHITECTURES)} architectures, judged by {seeds}, {'; '.join(of_methods)}."


def runs(rows: Sequence[Row], name: str) -> str:
    """How many runs of the method fail in all."""
    cells = [cell_of(rows, x, name) for x in ARCHITECTURES]
    return f"{sum(x.failing for x in cells)} of {sum(x.seeds for x in cells)} runs"


def baseline_in_words(rows: Sequence[Row]) -> str:
    """The distances with the baseline, and between which others they are."""
    values = [f"{METHODS[x].title} {cell_of(rows, BASELINE, x).text}" for x in NAMES]
    training, trivial = (cell_of(rows, "", name).text for name in (TRAINING, TRIVIAL))
    return (
        f"With the baseline the distances are: {'; '.join(values)}; that of training digits is"
        f" {training}, that of independent pixels {trivial}."
    )


def distances_in_words(rows: Sequence[Row]) -> str:
    """Whether the GAN or WGAN-GP is closer, and what the rule would say of pixels."""
    pairs = [[cell_of(rows, x, name) for name in ("gan", "wgan-gp")] for x in ARCHITECTURES]
    differ = [
        (a, b) for a, b in pairs if abs(a.distance - b.distance) > 2 * math.hypot(a.error, b.error)
    ]
    closer = sum(a.distance < b.distance for a, b in differ)
    cells = len(ARCHITECTURES) * len(NAMES)
    by_features, by_pixels = (
        sum(len(failing(rows, name, quantity)) for name in NAMES)
        for quantity in ("distance", "distance on pixels")
    )
    return (
        f"By more than two standard errors of the difference, the GAN is closer than WGAN-GP with"
        f" {closer} of {len(pairs)} architectures, WGAN-GP with {len(differ) - closer}. Of {cells}"
        f" cells {by_features} fail; by the distance on pixels {by_pixels} would."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    critic_steps = study.pick(quick=5, reduced=500, full=1500)
    seeds = range(study.pick(quick=1, reduced=1, full=3))
    items = [Item("", name, seed) for seed in seeds for name in (TRAINING, TRIVIAL)]
    items += [
        Item(architecture, name, seed, critic_steps)
        for seed, architecture, name in product(seeds, ARCHITECTURES, NAMES)
    ]
    rows, shown = zip(*study.run(measure, items), strict=True)
    samples = {
        (item.architecture, item.name): images
        for item, images in zip(items, shown, strict=True)
        if item.seed == 0
    }
    study.leave(rows, figure_of(rows, samples), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
