"""The sections of the report: each makes Markdown from the rows of one machine."""

from __future__ import annotations

import math

from tools import pages

from ..contestants import CAPTURED, COMPILED, REPLAYED
from ..contestants.eager import N_CRITIC
from ..contestants.penalties import PURE
from ..suites.overhead import WITHOUT_KERNELS
from . import curves
from .goals import outcomes
from .results import (
    OURS,
    Row,
    against,
    baseline_of,
    by_case,
    bytes_text,
    contestants,
    main_setting,
    moved_text,
    ratio_text,
    seconds_text,
    timed,
    verdict,
    where,
)

#: The suites that are told in short: what a training loop runs, or a part of it.
SHOWN = ("penalty", "step", "steps", "derivatives")


def in_short(rows: list[Row]) -> str:
    """Where wgan_fast, and what captures it, is faster, ties and loses against each contestant.
    Nothing is left out."""
    shown = timed([row for row in main_setting(rows) if row["suite"] in SHOWN])
    cases = by_case(shown)
    lines = []
    for ours, told in ((OURS, ""), (CAPTURED, f"**{CAPTURED}** ")):
        for other in contestants(shown):
            if other.startswith((ours, CAPTURED)):
                continue
            ratios = {
                name: against(case[ours], case[other])
                for name, case in cases.items()
                if ours in case and other in case
            }
            if ratios:
                lines.append(f"- {told}{_against_one(other, ratios)}")
    return "\n".join(lines)


def _against_one(other: str, ratios: dict[str, tuple[float, float, float]]) -> str:
    verdicts = {name: verdict(low, high) for name, (_, low, high) in ratios.items()}
    counts = {
        v: sum(found == v for found in verdicts.values()) for v in ("faster", "tie", "slower")
    }
    values = sorted(ratio for ratio, _, _ in ratios.values())
    text = (
        f"against **{other}**: faster in {counts['faster']} of {len(ratios)} cases, slower in "
        f"{counts['slower']}, within noise in {counts['tie']}; ratios from {values[0]:.2f}x to "
        f"{values[-1]:.2f}x."
    )
    for what, which in (("Slower", "slower"), ("Within noise", "tie")):
        names = [f"{n} ({ratios[n][0]:.2f}x)" for n, found in verdicts.items() if found == which]
        if names:
            text += f" {what}: {'; '.join(names)}."
    return text


def goals(rows: list[Row]) -> str:
    lines = [[o.what, o.goal, o.measured, o.verdict] for o in outcomes(rows)]
    return pages.table(["goal", "asked for", "measured", ""], lines)


def speeds(rows: list[Row], suite: str) -> str:
    """One line for each case, one column for each contestant: its time, and the baseline's over
    it; and its passes, where they were counted."""
    return _speeds(where(main_setting(rows), suite=suite))


def overhead(rows: list[Row]) -> str:
    """The same for the suite of this name, the pure build beside the native one. Its ratios are
    those to the textbook of its own process."""
    here = where(main_setting(rows), suite="overhead")
    native = [row for row in here if not row["case"].endswith(WITHOUT_KERNELS)]
    pure = [row | {"case": row["case"].removesuffix(WITHOUT_KERNELS)}
            for row in here if row["case"].endswith(WITHOUT_KERNELS)]  # fmt: skip
    beside = [row for row in pure if row["contestant"] == PURE or not native]
    return _speeds(native + beside)


def _speeds(rows: list[Row]) -> str:
    if not rows:
        return ""
    names = contestants(rows)
    lines = [
        [case, *(_speed(found[name]) if name in found else "" for name in names)]
        for case, found in by_case(rows).items()
    ]
    return pages.numbers(["", *names], lines)


def _speed(row: Row) -> str:
    if "median_s" not in row:
        return "failed" if "failed" in row else "–"
    passes = f"<br>{row['passes']:.1f} passes" if "passes" in row else ""
    if row["contestant"] == baseline_of(row):
        return seconds_text(row["median_s"]) + passes
    interval = f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}"
    return f"{seconds_text(row['median_s'])}<br>**{row['speedup']:.2f}x** ({interval}){passes}"


def shares(rows: list[Row]) -> str:
    """What share of a training iteration the penalty takes, and what remains of its speed-up."""
    main = main_setting(rows)
    penalties = by_case(timed(where(main, suite="penalty")))
    lines = []
    for name, iteration in by_case(timed(where(main, phase="training iteration"))).items():
        problem = name.removesuffix(", training iteration")
        penalty = penalties.get(problem)
        if penalty is None or OURS not in penalty or OURS not in iteration:
            continue
        share = [
            N_CRITIC * penalty[who]["median_s"] / iteration[who]["median_s"]
            for who in ("textbook", OURS)
        ]
        row = iteration[OURS]
        lines.append([
            problem, f"{share[0]:.0%}", f"{share[1]:.0%}", f"{penalty[OURS]['speedup']:.2f}x",
            ratio_text(row["speedup_low"], row["speedup"], row["speedup_high"]),
        ])  # fmt: skip
    header = ["", "share, textbook", "share, wgan_fast", "penalty faster", "iteration faster"]
    return pages.numbers(header, lines)


def kernels(rows: list[Row]) -> str:
    """Each kernel against the textbook, plain PyTorch and the bandwidth."""
    others = ("textbook", "tuned", "wgan_fast reference")
    lines = []
    for name, case in by_case(timed(where(main_setting(rows), suite="kernels"))).items():
        if OURS not in case:
            continue
        row = case[OURS]
        lines.append([
            name, seconds_text(row["median_s"]), f"{row['median_s'] / row['floor_s']:.2f}x",
            *(_times(row, case.get(other)) for other in others),
        ])  # fmt: skip
    header = ["", OURS, "least traffic", *(f"against {other}" for other in others)]
    return pages.numbers(header, lines)


def _times(row: Row, other: Row | None) -> str:
    if other is None:
        return "–"
    ratio, low, high = against(row, other)
    return ratio_text(low, ratio, high)


def growths(rows: list[Row]) -> str:
    """Slopes and crossovers of the time."""
    found = curves.curves_of(timed(where(main_setting(rows), suite="growth")), "median_s")
    lines = []
    for curve in found:
        last = curve.rows[-1]
        faster = "" if curve.contestant == OURS else curves.crossover(curve, found)
        lines.append([
            f"{curve.critic}, {curve.axis}", curve.contestant, f"{last['value']}",
            seconds_text(last["median_s"]), seconds_text(max(curves.slope(curve, "median_s"), 0)),
            f"{curves.exponent(curve):.2f}", faster,
        ])  # fmt: skip
    header = ["", "contestant", "largest", "time there", "each one more", "exponent",
              "wgan_fast is faster"]  # fmt: skip
    return pages.numbers(header, lines)


def memory(rows: list[Row]) -> str:
    """Peak memory of all contestants, and as it grows."""
    main = main_setting(rows)
    lines = []
    for name, case in by_case(where(main, suite="memory")).items():
        base = case.get("textbook", {}).get("peak_bytes", math.nan)
        for who, row in case.items():
            peak = row.get("peak_bytes")
            told = [bytes_text(peak), f"{peak / base:.2f}"] if peak else ["–", "–"]
            lines.append([name, who, *told])
    parts = [pages.numbers(["", "contestant", "peak", "of the textbook's"], lines)]
    lines = []
    for curve in curves.curves_of(where(main, suite="growth"), "peak_bytes"):
        last = curve.rows[-1]
        fits, beyond = curves.largest_that_fits(curve)
        each = curves.slope(curve, "peak_bytes")
        lines.append([
            f"{curve.critic}, {curve.axis}", curve.contestant, str(last["value"]),
            bytes_text(last["peak_bytes"]), bytes_text(each),
            f"{fits}{' (extrapolated)' if beyond else ''}" if curve.axis == "batch" else "",
        ])  # fmt: skip
    header = ["", "contestant", "largest", "peak there", "each one more", "batch that fits 4 GiB"]
    return "\n\n".join(filter(None, [*parts, pages.numbers(header, lines)]))


def settings(rows: list[Row]) -> str:
    """The anchor cases with other threads and the other allocator."""
    lines = []
    for suite in ("penalty", "kernels"):
        here = timed(where(rows, suite=suite, contestant=OURS))
        for name in dict.fromkeys(row["case"] for row in here):
            found = where(here, case=name)
            if len(found) < 2:
                continue
            for row in found:
                lines.append([
                    name, str(row["threads"]), row["allocator"], seconds_text(row["median_s"]),
                    ratio_text(row["speedup_low"], row["speedup"], row["speedup_high"]),
                ])  # fmt: skip
    return pages.numbers(["", "threads", "allocator", OURS, "against the textbook"], lines)


def counts(rows: list[Row]) -> str:
    """For each suite, the calls of every contestant that can be counted, and the bytes they move.

    A case that was counted in several settings has the same counts in all of them.
    """
    counted = [row for row in rows if "calls" in row]
    parts = []
    for suite in dict.fromkeys(row["suite"] for row in counted):
        here = where(counted, suite=suite)
        names = contestants(here)
        lines = [
            [case, *(_counts(found[name]) if name in found else "" for name in names)]
            for case, found in by_case(here).items()
        ]
        parts += [f"#### {suite}", pages.numbers(["", *names], lines)]
    return "\n\n".join(parts)


def _counts(row: Row) -> str:
    return f"{row['calls']} calls<br>{moved_text(row['bytes'])}"


def absent(rows: list[Row]) -> str:
    """Everyone who did not race, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for outcome in ("failed", "unavailable"):
            if outcome in row:
                cases = reasons.setdefault((row["contestant"], f"{outcome}: {row[outcome]}"), [])
                if row["case"] not in cases:
                    cases.append(row["case"])
    if not reasons:
        return "Nobody: every contestant took part in every case."
    return "\n".join(
        f"- {who}, {reason} ({'; '.join(cases)})" for (who, reason), cases in reasons.items()
    )


def drift(rows: list[Row]) -> str:
    main = [row for row in main_setting(rows) if "reference_s" in row]
    most = max((row["threads"] for row in main), default=0)  # fewer threads take longer
    reference = sorted(row["reference_s"] for row in main if row["threads"] == most)
    if not reference:
        return ""
    low, high = reference[0], reference[-1]
    return (
        f"The product took from {seconds_text(low)} to {seconds_text(high)} in different cases, a "
        f"factor of {high / low:.2f}."
    )


def first_calls(rows: list[Row]) -> str:
    """How long the first call takes; of captured losses, their capture, and what runs them."""
    main = timed([row for row in main_setting(rows) if row["suite"] in SHOWN])
    names = [name for name in (OURS, REPLAYED, *COMPILED) if name in contestants(main)]
    lines = [
        [name, *(_first_call(case[who]) if who in case else "–" for who in names)]
        for name, case in by_case(main).items()
    ]
    return pages.numbers(["", *names], lines)


def _first_call(row: Row) -> str:
    if "capture_s" in row:
        return f"{seconds_text(row['capture_s'])}<br>{row['executor']}"
    return seconds_text(row.get("first_call_s", math.nan))
