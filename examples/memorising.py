"""What does a generator learn that can only memorise, as a table of points without noise?

    python examples/memorising.py            # reduced, 3 seeds, 20 seconds on 2 cores
    python examples/memorising.py --full     # 5 seeds, half a minute

The generator is an embedding, whose rows are its samples, and it is trained by WGAN-GP on as many
points of 8 Gaussians, all of them in every batch. Its loss is minus the mean score, so plain
gradient descent moves each point by a step along the critic's slope at that point: the picture and
memorising.gif show both. The exact transport plan to the data tells how far the points have to go,
and where each should go: the best critic slopes along the cheapest plan, by proposition 1 of
Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ot
import torch
import torch.nn.functional as F
from gan.data import gaussians
from gan.methods import METHODS, critic_step
from gan.models import point_critic
from gan.options import POINT_WEIGHTS
from gan.pictures import FAKE, LINE, REAL
from gan.run import replacing, watching
from gan.study import Row, Study
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

METHOD = METHODS["wgan-gp"]
N_POINTS, WIDTH, N_CRITIC = 256, 64, 10
LAMBDA_GP = METHOD.weight * POINT_WEIGHTS
CRITIC_RATE = 20 * METHOD.learning_rate
STRIDE = 0.01  # of a point in one step, where the critic's slope is 1
N_FRAMES, PANELS = 40, (0, 2, 4, 8, 14, 40)  # most of the way is done early
LIMIT, N_GRID = 2.1, 60


@dataclass(frozen=True)
class Training:
    seed: int
    steps: int  # of the generator


@dataclass(frozen=True)
class Frame:
    """The points and the critic before a step."""

    step: int
    points: np.ndarray  # [N_POINTS, 2]
    slopes: np.ndarray  # [N_POINTS, 2], the critic's gradient at the points
    values: np.ndarray  # [N_GRID, N_GRID], of the critic


def memorise(training: Training) -> tuple[list[Row], list[Frame]]:
    """The rows of one training, and its frames."""
    torch.manual_seed(training.seed)
    critic, generator = point_critic(WIDTH), nn.Embedding(N_POINTS, 2)
    nn.init.normal_(generator.weight, std=0.2)  # a heap in the middle
    critic_optimizer = METHOD.optimizer(critic.parameters(), CRITIC_RATE)
    # The loss is a mean over the points: times their number, each moves as if it were alone.
    generator_optimizer = torch.optim.SGD(generator.parameters(), STRIDE * N_POINTS)
    schedule = LinearLR(generator_optimizer, 1.0, 0.0, training.steps + 1)  # so that they settle
    real = gaussians("gaussians8")[:N_POINTS]
    every = max(1, training.steps // N_FRAMES)
    rows, frames = [], []
    for step in range(training.steps + 1):
        for _ in range(N_CRITIC):
            fake = generator.weight.detach()
            critic_step(critic, critic_optimizer, METHOD, real, fake, weight=LAMBDA_GP)

        before, slopes = generator.weight.detach().clone(), slopes_at(critic, generator.weight)
        generator_loss = METHOD.generator_loss(critic, real, generator.weight)
        generator_optimizer.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()
        schedule.step()

        if step % every == 0:
            distance, ways = transport(before, real)
            rows.append(
                {"seed": training.seed, "step": step, "distance": distance}
                | {"step and slope": mean_cosine(generator.weight.detach() - before, slopes)}
                | {"slope and plan": mean_cosine(slopes, ways)}
                | {"slope": slopes.norm(dim=1).mean().item()}
            )
            frames.append(Frame(step, before.numpy(), slopes.numpy(), values_on_grid(critic)))
    return rows, frames


def slopes_at(critic: nn.Module, points: Tensor) -> Tensor:
    """The critic's gradient at each point, [n, 2]."""
    points = points.detach().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points)[0]


def transport(points: Tensor, real: Tensor) -> tuple[float, Tensor]:
    """The exact Wasserstein-1 distance to as many real samples, and the way of each point."""
    costs = ot.dist(points.double().numpy(), real.double().numpy(), metric="euclidean")
    goals = ot.emd([], [], costs).argmax(1)  # []: all weigh the same, so each has one goal
    return float(costs[np.arange(len(costs)), goals].mean()), real[goals] - points


def mean_cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a, b).mean().item()


def grid() -> tuple[Tensor, Tensor]:
    ticks = torch.linspace(-LIMIT, LIMIT, N_GRID)
    return torch.meshgrid(ticks, ticks, indexing="xy")


def values_on_grid(critic: nn.Module) -> np.ndarray:
    points = torch.stack(grid(), -1)
    with watching(critic):
        return critic(points.view(-1, 2)).view(N_GRID, N_GRID).numpy()


def draw(rows: Sequence[Row], frames: Sequence[Frame]) -> Figure:
    """Frames of the first seed, and beside them what was measured over all seeds."""
    figure = Figure(figsize=(13, 6.2), dpi=110, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 1.3))
    last = len(frames) - 1
    for axes, i in zip(left.subplots(2, 3).flat, PANELS, strict=True):
        draw_frame(axes, frames[min(i, last)])
    left.suptitle("blue: data, red: the generator's points, arrows: along the critic's slope")
    distance, cosine = right.subplots(2, 1, sharex=True)
    for seed in sorted({row["seed"] for row in rows}):
        draw_curve(distance, rows, seed, "distance", FAKE)
        draw_curve(cosine, rows, seed, "step and slope", LINE)
        draw_curve(cosine, rows, seed, "slope and plan", REAL)
    distance.set(ylabel="exact distance $W_1$ to the data", ylim=(0, None))
    cosine.set(xlabel="step of the generator", ylabel="mean cosine", ylim=(-1.05, 1.1))
    cosine.legend(cosine.lines[:2], ["step and slope", "slope and exact plan"], loc="lower left")
    return figure


def draw_curve(axes: Axes, rows: Sequence[Row], seed: int, quantity: str, colour: str) -> None:
    steps, values = curve_of(rows, seed, "step"), curve_of(rows, seed, quantity)
    axes.plot(steps, values, color=colour, linewidth=1.2, alpha=0.7)
    axes.grid(alpha=0.3)


def curve_of(rows: Sequence[Row], seed: int, quantity: str) -> np.ndarray:
    return np.array([row[quantity] for row in rows if row["seed"] == seed], dtype=float)


def draw_frame(axes: Axes, frame: Frame, levels: int = 12) -> None:
    """The critic's value, dark where it is low, the data, the points, and arrows at some."""
    x, y = grid()
    axes.contourf(x.numpy(), y.numpy(), frame.values, levels=levels, cmap="Greys_r", alpha=0.7)
    axes.scatter(*gaussians("gaussians8")[:N_POINTS].numpy().T, s=14, color=REAL, linewidths=0)
    axes.scatter(*frame.points.T, s=7, color=FAKE, linewidths=0)
    shown = slice(None, None, 4)
    norms = np.linalg.norm(frame.slopes, axis=1, keepdims=True)
    directions = frame.slopes / np.maximum(norms, 1e-12)
    axes.quiver(
        *frame.points[shown].T,
        *directions[shown].T,
        angles="xy",
        scale_units="xy",
        scale=5,  # 0.2 long
        width=0.004,
        color=FAKE,
    )
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=[], yticks=[])
    axes.set_title(f"step {frame.step}")


def save_animation(frames: Sequence[Frame], path: Path) -> None:
    """The frames as a GIF that repeats, 10 a second; the last one stays for 2 seconds."""
    images = [image_of(frame) for frame in frames]
    with replacing(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=[100] * (len(images) - 1) + [2000],
            loop=0,
        )


def image_of(frame: Frame) -> Image.Image:
    figure = Figure(figsize=(4.2, 4.4), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw_frame(figure.subplots(), frame, levels=8)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(96)


def summary(rows: Sequence[Row]) -> str:
    seeds = sorted({row["seed"] for row in rows})
    distances = np.array([curve_of(rows, seed, "distance") for seed in seeds])  # [seeds, frames]
    steps_on_slope = np.array([row["step and slope"] for row in rows])
    plan = np.array([curve_of(rows, seed, "slope and plan") for seed in seeds])
    start, end = distances[:, 0].mean(), distances[:, -1].mean()
    under_way = plan[distances > distances[:, :1] / 2].mean()
    arrived = (
        f"reach the data: the exact distance falls from {start:.3g} to {end:.2g}"
        if end < 0.1 * start
        else f"do not reach the data: the exact distance goes from {start:.3g} to {end:.2g}"
    )
    follows = (
        "Each step goes along the critic's slope"
        if steps_on_slope.min() > 0.99
        else "Not every step goes along the critic's slope"
    )
    n_seeds = f"{len(seeds)} seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    points = "points" if under_way > 0.7 else "does not point"
    return (
        f"The points of a generator without noise {arrived} (mean of {n_seeds})."
        f" {follows} (mean cosine {steps_on_slope.mean():.3f}). Until half of the distance is gone,"
        f" that slope {points} along the cheapest plan (mean cosine {under_way:.2f})."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    study = Study(__file__, __doc__, arguments)
    steps = study.pick(quick=5, reduced=160, full=160)
    seeds = study.pick(quick=1, reduced=3, full=5)
    results = study.run(memorise, [Training(seed, steps) for seed in range(seeds)])
    rows = [row for rows, _ in results for row in rows]
    frames = results[0][1]
    save_animation(frames, study.out / f"{study.name}.gif")
    study.leave(rows, draw(rows, frames), summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
