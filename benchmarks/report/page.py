"""What is generated of REPORT.md and of the README, from the rows of every machine."""

from __future__ import annotations

from pathlib import Path

from tools import pages

from ..contestants import CAPTURED
from ..suites import overhead, penalty
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
#: Those, and the suites of which it says what to expect.
QUOTED_SUITES = {"penalty", "step", "steps", "overhead"}


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
    parts = [f"## {machine(rows)}", _facts(rows)]
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
        f"{row['instruction_set']}. The machine copies {row['copy_gb_per_s']:.1f} GB/s (read and "
        f"written) and multiplies matrices at up to {row['matmul_gflops']:.0f} GFLOP/s in float32."
    )


def _commits(rows: list[Row]) -> str:
    """What was measured, and when; each suite by itself if they were measured apart."""
    told: dict[str, list[str]] = {}
    for row in rows:
        at = f"commit {row['commit']}, {row['measured'][:10]}"
        if at not in told.setdefault(row["suite"], []):
            told[row["suite"]].append(at)
    suites: dict[str, list[str]] = {}
    for suite, found in told.items():
        suites.setdefault(" and ".join(found), []).append(suite)
    if len(suites) == 1:
        return f"Measured at {next(iter(suites))}"
    parts = (f"{', '.join(each)}: {found}" for found, each in suites.items())
    return f"Measured apart: {'; '.join(parts)}"


def _counted(rows: list[Row]) -> str:
    """The commits that calls and bytes were counted at, where that was apart from the timing."""
    apart = dict.fromkeys(row["counted"] for row in rows if "counted" in row)
    return f"; calls and bytes: commit {', '.join(apart)}" if apart else ""


def latest(found: dict[str, list[Row]]) -> list[Row]:
    """The rows of the machine that was measured last, of those that have what the README quotes."""
    whole = [rows for rows in found.values() if {row["suite"] for row in rows} >= QUOTED_SUITES]
    return max(whole, key=lambda rows: max(row["measured"] for row in rows), default=[])


def expectations(found: dict[str, list[Row]]) -> str:
    """What the README says to expect, for each kind of critic: the slowest and the fastest case."""
    ours = where(timed(main_setting(latest(found))), contestant=OURS)
    penalties = where(ours, suite="penalty")
    smooth = {problem.name for problem in (*penalty.ANCHORS, *penalty.OTHERS) if problem.smooth}
    sequences = [row for row in penalties if row["critic"].startswith(SEQUENCES)]
    others = [row for row in penalties if row["critic"] in smooth and row not in sequences]
    normalised = {problem.name for problem in overhead.NORMALISED}
    small = [row for row in where(ours, suite="overhead") if row["critic"] not in normalised]
    small += where(penalties, critic=penalty.TINY.name)
    others += [row for row in where(ours, suite="overhead") if row["critic"] in normalised]
    linear = [row for row in penalties if row["critic"] not in {*smooth, penalty.TINY.name}]
    steps = where(ours, suite="steps", smooth=False)
    shared = [row for row in steps if row["phase"] in ("R1", "R1+R2")]
    step = _range(where(ours, phase="critic step"))
    captured = "[`captured`](docs/captured.md)"
    lines = [
        (
            "with ReLU, LeakyReLU, max pooling",
            f"the penalty {_range(linear)}, a critic step {step}",
        ),
        (
            "the same, with R1 or R2 at samples that the loss scores, too",
            f"loss and penalties by `critic_loss` {_range(shared)}",
        ),
        (
            "with normalisations or smooth activations",
            f"the penalty {_range(others)} on a CPU, with fewer calls; not timed on a GPU",
        ),
        (
            "with attention or recurrent layers",
            f"{_range(sequences)}; works where PyTorch takes a backend without a double backward",
        ),
        (
            "very small",
            f"{_range(small)}; {captured} makes these faster",
        ),
    ]
    return pages.table(["your critic", "what to expect"], lines)


def _range(rows: list[Row]) -> str:
    speedups = [row["speedup"] for row in rows]
    ends = dict.fromkeys(f"{end:.2f}" for end in (min(speedups), max(speedups)))
    return f"{' to '.join(ends)} times as fast"


def speed(found: dict[str, list[Row]]) -> str:
    """What the README says about speed: from the machine that was measured last."""
    rows = latest(found)
    if not rows:
        return "Not measured yet: `make bench`, then `python -m benchmarks.report`."
    main = timed(main_setting(rows))
    names = ["textbook", OURS, CAPTURED, "torch.compile", "JAX jit"]
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
        f"Medians on {machine(rows)}, float32, with the 95 % interval of the ratio. textbook:\n"
        "the penalty as popular repositories write it in PyTorch; captured: wgan_fast's as one\n"
        "graph, see below."
    )
