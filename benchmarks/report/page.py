"""What is generated of REPORT.md and of the README, from the rows of every machine."""

from __future__ import annotations

from pathlib import Path

from tools import pages

from ..contestants import CAPTURED
from ..suites import penalty
from . import tables
from .results import (
    OURS,
    Row,
    by_case,
    load,
    main_setting,
    ratio_text,
    seconds_text,
    timed,
    where,
)

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results"
REPORT = HERE / "REPORT.md"
README = HERE.parent / "README.md"

#: Since when times are taken as ``timing.py`` takes them now, and what was otherwise before.
METHOD_SINCE = "2026-11-25T15:08"
OLDER_METHOD = (
    "before 2026-11-25 every round took the contestants in the same order, shifted by one, so that "
    "whoever followed the textbook could lose up to 6 %; the threads of one contestant got 3 ms to "
    "come to rest, where they take 5; and short calls were measured for 2 ms, not for 10"
)

#: What the names of critics begin with that have attention or recurrent layers.
SEQUENCES = ("attention", "LSTM", "GRU")

#: The cases that the README quotes, in the suites penalty and step.
QUOTED = [
    ("penalty", "MLP 2-512x4-1, batch 4096"),
    ("penalty", "MLP 784-512x4-1, batch 1024"),
    ("penalty", "DCGAN 64x64, batch 64"),
    ("penalty", "ResNet 32x32, batch 64"),
    ("penalty", "attention 32x64, batch 64"),
    ("penalty", "MLP 2-16-1, batch 64"),
    ("step", "DCGAN 64x64, batch 64, critic step"),
    ("step", "DCGAN 64x64, batch 16, training iteration"),
]


def machines() -> dict[str, list[Row]]:
    """The rows of every machine that has results."""
    return {path.parent.name: load(path) for path in sorted(RESULTS.glob("*/race.json"))}


def report(found: dict[str, list[Row]]) -> str:
    """All that was measured, machine by machine."""
    if not found:
        return "Nothing has been measured yet."
    return "\n\n".join(section(name, rows) for name, rows in found.items())


def section(name: str, rows: list[Row]) -> str:
    """One machine: for each title a picture and a table."""
    notes = RESULTS / name / "notes.md"  # by hand: what holds back where a goal is missed
    parts = [f"## {machine(rows)}", *filter(None, [older_method(rows)]), _facts(rows)]
    for title, picture, text in [
        ("In short", "", tables.in_short(rows)),
        ("Goals", "", tables.goals(rows)),
        ("What holds back", "", notes.read_text().strip() if notes.exists() else ""),
        ("The penalty alone", "speedup.png", tables.speeds(rows, "penalty")),
        ("Overhead", "", tables.overhead(rows)),
        ("The critic's step and the training iteration", "", tables.speeds(rows, "step")),
        ("The loss of a critic's step", "", tables.speeds(rows, "steps")),
        ("Losses of derivatives", "", tables.speeds(rows, "derivatives")),
        ("The penalty's share of a training iteration", "", tables.shares(rows)),
        ("The kernels", "bandwidth.png", tables.kernels(rows)),
        ("Calls, and bytes that they move", "", tables.counts(rows)),
        ("Growth of the time", "time.png", tables.growths(rows)),
        ("Memory", "memory.png", tables.memory(rows)),
        ("Threads and allocator", "", tables.settings(rows)),
        ("The first call, with its compilation", "", tables.first_calls(rows)),
        ("How steady the machine was", "drift.png", tables.drift(rows)),
        ("Who did not run, and why", "", tables.absent(rows)),
    ]:
        if text:
            shown = f"![{title}](results/{name}/{picture})" if picture else ""
            parts += [f"### {title}", *filter(None, [shown]), text]
    return "\n\n".join(parts)


def older_method(rows: list[Row]) -> str:
    """Says so of a machine, or of its suites, that was measured by an older method."""
    older = [row["measured"] < METHOD_SINCE for row in rows]
    if not any(older):
        return ""
    suites = dict.fromkeys(row["suite"] for row, old in zip(rows, older, strict=True) if old)
    what = "" if all(older) else f" ({', '.join(suites)})"
    return f"**Measured by an older method**{what}: {OLDER_METHOD}."


def machine(rows: list[Row]) -> str:
    row = rows[0]
    return row["device"] if row["device"] != "cpu" else f"{row['processor']}, {row['cores']} cores"


def _facts(rows: list[Row]) -> str:
    main = main_setting(rows)
    row = max(main, key=lambda row: row["threads"])
    fewer = {r["suite"]: r["threads"] for r in main if r["threads"] < row["threads"]}
    threads = f"{row['threads']} threads"
    if fewer:
        threads += f" ({', '.join(f'{suite}: {count}' for suite, count in fewer.items())})"
    return (
        f"{_commits(rows)}{_counted(rows)}; torch {row['torch']}, "
        f"jax {row['jax']}, Python {row['python']}; {threads}; kernels in "
        f"{row['instruction_set']}. It copies {row['copy_gb_per_s']:.1f} GB/s (read and written) "
        f"and multiplies matrices at up to {row['matmul_gflops']:.0f} GFLOP/s in float32."
    )


def _commits(rows: list[Row]) -> str:
    """What was measured, and when; each suite by itself if they were measured apart."""
    told = {row["suite"]: (row["commit"], row["measured"][:10]) for row in reversed(rows)}
    if len(set(told.values())) == 1:
        return "Commit {}, {}".format(*next(iter(told.values())))
    suites = {at: [s for s in reversed(told) if told[s] == at] for at in reversed(told.values())}
    return "; ".join(f"{', '.join(each)}: commit {c}, {day}" for (c, day), each in suites.items())


def _counted(rows: list[Row]) -> str:
    """The commits that calls and bytes were counted at, where that was apart from the timing."""
    apart = dict.fromkeys(row["counted"] for row in rows if "counted" in row)
    return f"; calls and bytes: commit {', '.join(apart)}" if apart else ""


def latest(found: dict[str, list[Row]]) -> list[Row]:
    """The rows of the machine that was measured last."""
    return max(found.values(), key=lambda rows: max(row["measured"] for row in rows))


def expectations(found: dict[str, list[Row]]) -> str:
    """What the README says to expect, for each kind of critic: the slowest and the fastest case."""
    ours = where(timed(main_setting(latest(found))), contestant=OURS)
    penalties = where(ours, suite="penalty")
    smooth = {problem.name for problem in (*penalty.ANCHORS, *penalty.OTHERS) if problem.smooth}
    sequences = [row for row in penalties if row["critic"].startswith(SEQUENCES)]
    others = [row for row in penalties if row["critic"] in smooth and row not in sequences]
    linear = [row for row in penalties if row["critic"] not in {*smooth, penalty.TINY.name}]
    steps = where(ours, suite="steps", smooth=False)
    shared = [row for row in steps if row["phase"] in ("R1", "R1+R2")]
    step = _range(where(ours, phase="critic step"))
    captured = "[`captured`](docs/captured.md)"
    lines = [
        (
            "of ReLU, LeakyReLU, max pooling",
            f"the penalty {_range(linear)}, a critic step {step}",
        ),
        (
            "the same, and R1 or R2 of scores that the loss takes as well",
            f"loss and penalties by `critic_loss` {_range(shared)}",
        ),
        (
            "with normalisations or smooth activations",
            f"the penalty {_range(others)} on a CPU; fewer calls and bytes, for GPUs",
        ),
        (
            "with attention or recurrent layers",
            f"{_range(sequences)}; can be differentiated twice, where PyTorch refuses",
        ),
        (
            "very small",
            f"{_range(where(ours, suite='overhead'))}; {captured} makes these faster",
        ),
    ]
    return pages.table(["your critic", "what to expect"], lines)


def _range(rows: list[Row]) -> str:
    speedups = [row["speedup"] for row in rows]
    return f"{min(speedups):.2f} to {max(speedups):.2f} times as fast"


def speed(found: dict[str, list[Row]]) -> str:
    """What the README says about speed: from the machine that was measured last."""
    if not found:
        return "Not measured yet: `make bench`, then `python -m benchmarks.report`."
    rows = latest(found)
    main = timed(main_setting(rows))
    names = ["textbook", OURS, "torch.compile", "JAX jit"]
    if where(main, contestant=CAPTURED):  # not in older races
        names.insert(2, CAPTURED)
    lines = []
    for suite, name in QUOTED:
        case = by_case(where(main, suite=suite)).get(name)
        if case is None or OURS not in case:
            continue
        ours = case[OURS]
        others = [case[who]["median_s"] if who in case else None for who in names]
        lines.append([
            name if suite == "step" else f"{name}, penalty",
            *("–" if s is None else seconds_text(s) for s in others),
            ratio_text(ours["speedup_low"], ours["speedup"], ours["speedup_high"]),
        ])  # fmt: skip
    header = ["forward and backward", *names, "wgan_fast against the textbook"]
    return (
        f"{pages.numbers(header, lines)}\n\n"
        f"Medians on {machine(rows)}, float32, with the 95 % interval of the ratio."
    )
