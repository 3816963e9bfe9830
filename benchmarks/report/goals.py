"""The goals that the library set itself, and whether a result meets them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..contestants import CAPTURED, REPLAYED
from ..contestants.critic_losses import USUAL
from ..contestants.penalties import PURE
from .results import OURS, Row, against, by_case, main_setting, timed, where

MET, NOISE, MISSED, UNKNOWN = "met", "met within noise", "**missed**", "not measured"

MLP_2D, MLP_784 = "MLP 2-512x4-1, batch 4096", "MLP 784-512x4-1, batch 1024"
DCGAN = "DCGAN 64x64, batch 64"
#: By the phase of the suite steps: how many times as fast as the usual code.
STEPS = {"R1+R2": 1.4, "R1": 1.2, "WGAN-GP": 1.2}
#: Critics whose time goes into calls, not into computing.
BOUND_BY_CALLS = ("MLP 2-16-1", "CTGAN", "attention", "LSTM", "GRU")
CONVOLUTIONS = ("DCGAN", "ResNet", "projection", "WaveGAN")


@dataclass(frozen=True)
class Outcome:
    """One goal: what, how much was asked for, what was measured, and the verdict."""

    what: str
    goal: str
    measured: str
    verdict: str


def outcomes(rows: list[Row]) -> list[Outcome]:
    """Every goal with what the main setting of a result says about it."""
    main = main_setting(rows)
    penalty = by_case(timed(where(main, suite="penalty")))
    return [
        *_penalty_goals(penalty),
        *_jax_goals(penalty),
        *_steps_goals(by_case(timed(where(main, suite="steps")))),
        *_derivatives_goals(by_case(timed(where(main, suite="derivatives")))),
        *_captured_goals(main),
        *_overhead_goals(by_case(timed(where(main, suite="overhead")))),
        *_kernel_goals(timed(where(main, suite="kernels"))),
        *_memory_goals(where(main, suite="memory")),
    ]


def _penalty_goals(cases: dict[str, dict[str, Row]]) -> Iterator[Outcome]:
    for name in (MLP_2D, MLP_784, DCGAN):
        found = [pair for case, pair in _pairs(cases, "textbook") if case == name]
        yield _at_least(f"penalty against the textbook, {name}", 1.5, found)
    yield _at_least(
        "penalty against the textbook, every critic", 1.0, [p for _, p in _pairs(cases, "textbook")]
    )


def _jax_goals(cases: dict[str, dict[str, Row]]) -> Iterator[Outcome]:
    pairs = _pairs(cases, "JAX jit")
    perceptrons = [p for name, p in pairs if name.startswith(("MLP 2-512", "MLP 784-512x4-1,"))]
    convolutions = [p for name, p in pairs if name.startswith(CONVOLUTIONS)]
    yield _at_least("penalty against JAX jit, MLP cases", 1.0, perceptrons)
    yield _at_least("penalty against JAX jit, convolutional cases", 2.0, convolutions)


def _steps_goals(cases: dict[str, dict[str, Row]]) -> Iterator[Outcome]:
    pairs = [(cases[name][OURS], pair) for name, pair in _pairs(cases, USUAL)]
    linear = [(row["phase"], pair) for row, pair in pairs if not row["smooth"]]
    for phase, least in STEPS.items():
        what = f"{phase} step against the usual code, critics that are linear piece by piece"
        yield _at_least(what, least, [pair for found, pair in linear if found == phase])
    smooth = [pair for row, pair in pairs if row["smooth"]]
    yield _at_least("critic step against the usual code, every other critic", 0.98, smooth)


def _derivatives_goals(cases: dict[str, dict[str, Row]]) -> Iterator[Outcome]:
    what = "loss of derivatives against plain PyTorch, every case"
    yield _at_least(what, 1.2, [p for _, p in _pairs(cases, USUAL)])


def _captured_goals(rows: list[Row]) -> Iterator[Outcome]:
    best, textbook = [], []
    for suite in ("penalty", "step", "steps", "derivatives"):
        for name, case in by_case(timed(where(rows, suite=suite))).items():
            ours = case.get(CAPTURED, case.get(REPLAYED))
            others = [row for who, row in case.items() if who not in (CAPTURED, REPLAYED)]
            if ours is None or not others:
                continue
            found = min(((name, *against(ours, row)) for row in others), key=lambda pair: pair[1])
            best.append(found)
            if suite == "penalty" and "textbook" in case and name.startswith(BOUND_BY_CALLS):
                textbook.append((name, *against(ours, case["textbook"])))
    yield _at_least("captured against the best of all others, every case", 0.98, best)
    what = "captured penalty against the textbook, critics bound by calls"
    yield _at_least(what, 1.4, textbook)


def _overhead_goals(cases: dict[str, dict[str, Row]]) -> Iterator[Outcome]:
    what = "penalty against the textbook, critics with nothing to gain"
    yield _at_least(what, 0.97, [p for _, p in _pairs(cases, "textbook")])
    pure = [p for _, p in _pairs(cases, "textbook", PURE)]
    yield _at_least(f"{what}, pure build", 0.97, pure)


def _kernel_goals(rows: list[Row]) -> Iterator[Outcome]:
    cases = by_case(rows)
    large = {name: case for name, case in cases.items() if OURS in case and _above_cache(case)}
    over = [(case[OURS]["median_s"] / case[OURS]["floor_s"], name) for name, case in large.items()]
    what = "kernels against the copy bandwidth, arrays above the L3 cache"
    yield _at_most(what, 1.25, max(over, default=None))
    above = "kernels against the textbook, arrays above the L3 cache"
    yield _at_least(above, 3.0, [p for _, p in _pairs(large, "textbook")])
    small = {name: case for name, case in cases.items() if " 64x256 " in name}
    yield _at_least(
        "kernels against plain PyTorch, the smallest shape",
        1.0,
        [p for _, p in _pairs(small, "tuned")],
    )


def _above_cache(case: dict[str, Row]) -> bool:
    row = case[OURS]
    return row["array_bytes"] > (row["l3_bytes"] or 2**25)


def _memory_goals(rows: list[Row]) -> Iterator[Outcome]:
    case = by_case(rows).get("DCGAN 64x64, batch 128", {})
    peaks = {name: row["peak_bytes"] for name, row in case.items() if "peak_bytes" in row}
    for name, limit in ((OURS, 0.75), ("wgan_fast, chunk_size=16", 0.25)):
        both = name in peaks and "textbook" in peaks
        worst = (peaks[name] / peaks["textbook"], name) if both else None
        yield _at_most("peak memory against the textbook, DCGAN 64x64, batch 128", limit, worst)


def _pairs(
    cases: dict[str, dict[str, Row]], other: str, ours: str = OURS
) -> list[tuple[str, tuple[str, float, float, float]]]:
    """For every case of both: its name, and (name, ratio, low, high)."""
    return [
        (name, (name, *against(case[ours], case[other])))
        for name, case in cases.items()
        if ours in case and other in case
    ]


def _at_least(what: str, least: float, found: list[tuple[str, float, float, float]]) -> Outcome:
    """Every ratio must reach ``least``. The worst is printed."""
    goal = f"≥ {least:g}x"
    if not found:
        return Outcome(what, goal, "", UNKNOWN)
    name, ratio, low, high = min(found, key=lambda pair: pair[1])
    measured = f"{ratio:.2f}x ({low:.2f} to {high:.2f})"
    if len(found) > 1:
        missing = sum(pair[1] < least for pair in found)
        measured += f" at worst, {name}; {len(found) - missing} of {len(found)} reach it"
    if all(pair[1] >= least for pair in found):
        return Outcome(what, goal, measured, MET)
    within_noise = all(pair[3] >= least for pair in found)
    return Outcome(what, goal, measured, NOISE if within_noise else MISSED)


def _at_most(what: str, most: float, worst: tuple[float, str] | None) -> Outcome:
    goal = f"≤ {most:g}x"
    if worst is None:
        return Outcome(what, goal, "", UNKNOWN)
    return Outcome(what, goal, f"{worst[0]:.2f}x, {worst[1]}", MET if worst[0] <= most else MISSED)
