"""The pictures of a run: samples, curves, and a small summary of both."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .run import Metrics, Run, replacing, watching

REAL, FAKE, LINE = "#1f77b4", "#d62728", "#333333"
N_SHOWN = 512  # real and generated samples that the pictures are made from


def draw(run: Run, metrics: Metrics, real: Tensor, folder: Path) -> None:
    """Write samples.png, curves.png and summary.png. ``real`` are real samples, at least a few."""
    fake = run.generate(len(real))
    norms = run.gradient_norms(real, fake).cpu().numpy()
    save(samples_figure(run, real, fake), folder / "samples.png")
    save(curves_figure(run, metrics, norms), folder / "curves.png")
    save(summary_figure(run, real, fake, norms), folder / "summary.png")


def samples_figure(run: Run, real: Tensor, fake: Tensor) -> Figure:
    """Real beside generated images, or both as points over the critic's value surface."""
    if real.dim() == 2:
        figure = Figure(figsize=(6.4, 6.0), dpi=110, layout="constrained")
        value_surface(figure.subplots(), run, real, fake)
    else:
        figure = Figure(figsize=(10, 5.3), dpi=110, layout="constrained")
        left, right = figure.subplots(1, 2)
        image_grid(left, real, "real", most=10)
        image_grid(right, fake, f"{run.method.title}, step {run.step}", most=10)
    return figure


def curves_figure(run: Run, metrics: Metrics, norms: np.ndarray) -> Figure:
    """How far the critic tells the two apart, the penalty, and the gradient norms at the end."""
    figure = Figure(figsize=(12, 3.4), dpi=110, layout="constrained")
    estimate, penalty, histogram = figure.subplots(1, 3)
    is_estimate = run.method.loss == "wasserstein"
    name = "Wasserstein estimate" if is_estimate else "difference of the scores"
    curve(estimate, metrics, "wasserstein", f"{name}\nE D(real) - E D(generated)")
    weight = f"penalty, λ = {run.settings.lambda_gp:g}" if run.method.weight else "no penalty"
    curve(penalty, metrics, "penalty", weight)
    norm_histogram(histogram, norms)
    return figure


def summary_figure(run: Run, real: Tensor, fake: Tensor, norms: np.ndarray) -> Figure:
    """One picture for a README: real, generated, gradient norms."""
    figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
    if real.dim() == 2:
        surface, histogram = figure.subplots(1, 2)
        value_surface(surface, run, real, fake)
    else:
        left, right, histogram = figure.subplots(1, 3)
        image_grid(left, real, "real", most=8)
        image_grid(right, fake, "generated", most=8)
    norm_histogram(histogram, norms)
    return figure


def image_grid(axes: Axes, images: Tensor, title: str, most: int) -> None:
    """A square of images in [-1, 1], [B, channels, size, size], of ``most`` columns at most."""
    columns = min(most, math.isqrt(len(images)))
    images = images[: columns**2].cpu().float()
    channels, size = images.shape[1:3]
    gap = max(1, size // 16)
    tiles = torch.nn.functional.pad(images, (0, gap, 0, gap), value=1.0)
    side = columns * (size + gap)
    grid = tiles.view(columns, columns, channels, size + gap, size + gap)
    grid = grid.permute(0, 3, 1, 4, 2).reshape(side, side, channels)[:-gap, :-gap]
    pixels = (grid / 2 + 0.5).clamp(0, 1).numpy().squeeze()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def value_surface(axes: Axes, run: Run, real: Tensor, fake: Tensor) -> None:
    """Contours of the critic's value, with real and generated points on top."""
    points = real.cpu()
    centre, radius = points.mean(0), 1.25 * (points - points.mean(0)).abs().max().item()
    ticks = torch.linspace(-radius, radius, 150)
    x, y = torch.meshgrid(ticks + centre[0], ticks + centre[1], indexing="xy")
    with watching(run.critic) as critic:
        values = critic(torch.stack([x, y], -1).view(-1, 2).to(run.device)).cpu().view(x.shape)
    surface = axes.contourf(
        x.numpy(), y.numpy(), values.numpy(), levels=24, cmap="Greys_r", alpha=0.8
    )
    axes.figure.colorbar(surface, ax=axes, label="critic value")
    axes.scatter(*points.numpy().T, s=12, color=REAL, label="real", linewidths=0)
    axes.scatter(*fake.cpu().numpy().T, s=4, color=FAKE, label="generated", linewidths=0)
    axes.set(
        xlim=(x.min().item(), x.max().item()),
        ylim=(y.min().item(), y.max().item()),
        aspect="equal",
        title=f"{run.settings.data}, {run.method.title}, step {run.step}",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, markerscale=2)


def curve(axes: Axes, metrics: Metrics, name: str, title: str) -> None:
    """A metric over the steps: faint as it is, dark as a running mean."""
    axes.set(title=title, xlabel="generator step")
    axes.grid(alpha=0.3)
    steps, values = metrics.column("step"), np.array(metrics.column(name))
    if not steps:  # resumed at its end, and without its metrics.csv
        return
    window = max(1, len(values) // 50)
    mean = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=LINE, alpha=0.25, linewidth=0.8)
    axes.plot(steps[window - 1 :], mean, color=LINE, linewidth=1.5)
    # The first steps are often far off, and would flatten all that follows.
    low, high = np.quantile(values, [0.01, 0.99])
    margin = 0.15 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)


def norm_histogram(axes: Axes, norms: np.ndarray) -> None:
    """How the gradient norms lie about 1, where WGAN-GP drives them."""
    upper = max(2.0, float(np.quantile(norms, 0.999)))
    axes.hist(norms.clip(0, upper), bins=60, range=(0, upper), color=REAL)
    axes.axvline(1.0, color=FAKE, linestyle="--")
    axes.set(
        title="gradient norms of the critic",
        xlabel=f"norm (mean {norms.mean():.2f}, deviation {norms.std():.2f})",
        ylabel="samples",
    )


def save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", pil_kwargs={"optimize": True})
