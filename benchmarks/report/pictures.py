"""The pictures of a result file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from ..contestants import CAPTURED, REPLAYED, TRACED
from .curves import Curve, curves_of
from .results import Row, by_case, contestants, main_setting, timed, where

COLOURS = {
    "textbook": "0.55",
    "tuned": "tab:brown",
    "wgan_fast": "tab:blue",
    "wgan_fast, plain": "tab:cyan",
    "wgan_fast reference": "tab:olive",
    "wgan_fast pure": "tab:red",
    "wgan_fast reference, plain": "tab:pink",
    "wgan_fast, chunk_size=16": "tab:purple",
    CAPTURED: "navy",
    REPLAYED: "mediumpurple",
    "torch.compile": "tab:orange",
    TRACED: "gold",
    "JAX jit": "tab:green",
}

#: The bars of one case; the other contestants are in the tables.
BARS = ("wgan_fast", CAPTURED, "tuned", "torch.compile", "JAX jit")


def speedups(rows: list[Row]) -> Any:
    """How many times faster than the textbook, with intervals: the penalty, step and iteration."""
    shown = timed([row for row in rows if row["suite"] in ("penalty", "step")])
    cases = list(reversed(by_case(shown).items()))
    figure, axes = plt.subplots(figsize=(8, 1 + 0.62 * len(cases)), layout="constrained")
    height = 0.8 / len(BARS)
    for index, name in enumerate(BARS):
        places = [(i, case[name]) for i, (_, case) in enumerate(cases) if name in case]
        ratios = [row["speedup"] for _, row in places]
        below = [row["speedup"] - row["speedup_low"] for _, row in places]
        above = [row["speedup_high"] - row["speedup"] for _, row in places]
        axes.barh(
            [i + 0.4 - height * (index + 0.5) for i, _ in places],
            [ratio - 1 for ratio in ratios],
            height,
            left=1,
            xerr=[[max(0, b) for b in below], [max(0, a) for a in above]],
            color=COLOURS[name],
            label=name,
            error_kw={"linewidth": 0.8, "ecolor": "0.2"},
        )
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}x" if value in (0.5, 2, 5) else "")
    axes.set_yticks(range(len(cases)), [name for name, _ in cases], fontsize=8)
    axes.set_ylim(-0.6, len(cases) - 0.4)
    axes.set_xlabel("times as fast as the textbook; the line across a bar is the 95 % interval")
    figure.legend(loc="outside upper center", ncols=len(BARS), fontsize=8)
    return figure


def _panels(curves: list[Curve]) -> tuple[Any, list[tuple[Any, list[Curve]]]]:
    """A figure with one pair of axes for each critic and axis of growth."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.critic, curve.axis), []).append(curve)
    figure, grid = plt.subplots(
        1, len(groups), figsize=(3.4 * len(groups), 3.4), layout="constrained", squeeze=False
    )
    return figure, list(zip(grid[0], groups.values(), strict=True))


def _draw_curves(axes: Any, curves: list[Curve], column: str, factor: float) -> None:
    for curve in curves:
        values = [row[column] * factor for row in curve.rows]
        colour = COLOURS[curve.contestant]
        axes.plot(curve.values, values, "o-", ms=3, color=colour, label=curve.contestant)
        if column == "median_s":
            low, high = ([row[q] * factor for row in curve.rows] for q in ("q20_s", "q80_s"))
            axes.fill_between(curve.values, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for scale in (axes.xaxis, axes.yaxis):
        scale.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = axes.get_ylim()
    if high > 10 * low:
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:  # no power of ten may lie between
        axes.yaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:e}"[0] in "1235" else ""
        )
    axes.set_xlabel(curves[0].axis)
    axes.set_title(curves[0].critic, fontsize=9)
    axes.grid(alpha=0.3)


def times(rows: list[Row]) -> Any:
    """Time against batch, image size and depth, over the floor of the operations."""
    figure, panels = _panels(curves_of(timed(where(rows, suite="growth")), "median_s"))
    for axes, curves in panels:
        _draw_curves(axes, curves, "median_s", 1e3)
        floor = [row["floor_s"] * 1e3 for row in curves[0].rows]
        axes.plot(curves[0].values, floor, "k--", lw=1, label="least operations")
        axes.legend(fontsize=7)
    panels[0][0].set_ylabel("penalty, forward and backward [ms]")
    return figure


def graphs(rows: list[Row]) -> Any:
    """Time against batch of the library, called eagerly and captured, and of other whole graphs."""
    shown = ("wgan_fast", CAPTURED, "torch.compile", TRACED, "JAX jit")
    found = [
        curve
        for curve in curves_of(timed(where(rows, suite="growth", axis="batch")), "median_s")
        if curve.contestant in shown and curve.critic.startswith("MLP")
    ]
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    _draw_curves(axes, found, "median_s", 1e3)
    axes.set_ylabel("penalty, forward and backward [ms]")
    axes.legend(fontsize=8)
    return figure


def draw_graphs(rows: list[Row], path: Path) -> None:
    """The picture of docs/captured.md."""
    mpl.use("Agg")
    figure = graphs(main_setting(rows))
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def memory(rows: list[Row]) -> Any:
    """Peak memory against batch, image size and depth."""
    figure, panels = _panels(curves_of(where(rows, suite="growth"), "peak_bytes"))
    for axes, curves in panels:
        _draw_curves(axes, curves, "peak_bytes", 2**-20)
        axes.legend(fontsize=7)
    panels[0][0].set_ylabel("peak memory [MiB]")
    return figure


def bandwidth(rows: list[Row]) -> Any:
    """What the kernels reach under the roof of the memory bandwidth."""
    shown = timed(where(rows, suite="kernels", dtype="float32", phase="forward+backward"))
    ops = list(dict.fromkeys(row["op"] for row in shown))
    figure, grid = plt.subplots(
        1, len(ops), figsize=(4.5 * len(ops), 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for axes, op in zip(grid[0], ops, strict=True):
        here = where(shown, op=op)
        for name in contestants(here):
            line = sorted(where(here, contestant=name), key=lambda row: row["array_bytes"])
            moved = [row["floor_s"] * row["copy_gb_per_s"] / row["median_s"] for row in line]
            sizes = [row["array_bytes"] / 2**20 for row in line]
            axes.plot(sizes, moved, "o", ms=5, alpha=0.8, color=COLOURS[name], label=name)
        axes.axhline(here[0]["copy_gb_per_s"], color="k", ls="--", lw=1, label="copy bandwidth")
        if here[0]["l3_bytes"]:
            axes.axvline(here[0]["l3_bytes"] / 2**20, color="0.7", lw=1, label="L3 cache")
        axes.set(xscale="log", yscale="log", xlabel="one array [MiB]", title=op)
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("least traffic / time [GB/s]")
    grid[0][-1].legend(fontsize=7)
    return figure


def drift(rows: list[Row]) -> Any:
    """The time of the fixed reference workload, case after case, for each number of threads."""
    cases = {(row["measured"], row["case"]): row for row in rows if "reference_s" in row}
    figure, axes = plt.subplots(figsize=(8, 2.4), layout="constrained")
    for threads in sorted({row["threads"] for row in rows}, reverse=True):
        line = [(i, row) for i, row in enumerate(cases.values()) if row["threads"] == threads]
        times = [row["reference_s"] * 1e3 for _, row in line]
        label = f"{threads} threads" if threads != 1 else "1 thread"
        axes.plot([i for i, _ in line], times, "o", ms=3, label=label)
    axes.legend(fontsize=7)
    axes.set(xlabel="case, in the order of the race", ylabel="reference workload [ms]")
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    return figure


#: File name -> what draws it from the rows of the main setting, and the suite it needs.
PICTURES: dict[str, tuple[Callable[[list[Row]], Any], str]] = {
    "speedup.png": (speedups, "penalty"),
    "time.png": (times, "growth"),
    "memory.png": (memory, "growth"),
    "bandwidth.png": (bandwidth, "kernels"),
    "drift.png": (drift, ""),
}


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """All pictures that these rows allow; returns the files."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    main = main_setting(rows)
    drawn = []
    for name, (picture, suite) in PICTURES.items():
        if suite and not timed(where(main, suite=suite)):
            continue
        figure = picture(main if suite else rows)
        figure.savefig(folder / name, dpi=110, metadata={"Software": None})
        plt.close(figure)
        drawn.append(folder / name)
    return drawn
