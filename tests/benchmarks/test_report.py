"""What is published is what the generator makes of the results, losses included."""

from __future__ import annotations

import itertools
import re

import pytest

from benchmarks import machine
from benchmarks.contestants import CAPTURED, REPLAYED, TRACED
from benchmarks.contestants.critic_losses import CRITIC_LOSSES, USUAL
from benchmarks.contestants.penalties import PENALTIES, PURE, REFERENCE
from benchmarks.report import goals, page, tables
from benchmarks.report.pictures import PICTURES
from benchmarks.report.results import main_setting, moved_text, timed, where
from benchmarks.suites.growth import CHUNKED
from benchmarks.suites.overhead import WITHOUT_KERNELS
from tools import pages

from . import results
from .results import pair, steps_pair

MLP, OTHER = goals.MLP_2D, "attention 32x64, batch 64"


def outcome(rows, what):
    (found,) = [o for o in goals.outcomes(rows) if o.what == what]
    return found


def test_the_report_is_what_the_generator_makes():
    assert pages.read("results", page.REPORT) == page.report(page.machines())


def test_the_report_is_one_document():
    """A second heading of the first level would be a page of its own in the site's navigation."""
    levels = [len(mark) for mark in re.findall(r"^(#+) ", page.REPORT.read_text(), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_the_readme_is_what_the_generator_makes():
    assert pages.read("speed", page.README) == page.speed(page.machines())
    assert pages.read("expectations", page.README) == page.expectations(page.machines())


def test_the_pictures_of_the_report_exist():
    """Of each machine those of the suites that were run there."""
    text = page.REPORT.read_text()
    for name, rows in page.machines().items():
        for picture, (_, suite) in PICTURES.items():
            is_there = not suite or bool(timed(where(main_setting(rows), suite=suite)))
            assert (f"results/{name}/{picture}" in text) == is_there
            assert (page.RESULTS / name / picture).exists() == is_there


def test_the_report_says_who_its_contestants_are():
    before_results = page.REPORT.read_text().partition("<!-- begin results -->")[0]
    for name in (
        *PENALTIES,
        *CRITIC_LOSSES,
        PURE,
        CHUNKED,
        CAPTURED,
        REPLAYED,
        TRACED,
        "torch.compile",
        "JAX jit",
    ):
        assert f"| {name} |" in before_results


@pytest.mark.parametrize(
    ("ratio", "noise", "verdict"),
    [(1.6, 0.0, goals.MET), (1.4, 0.0, goals.MISSED), (1.4, 0.3, goals.NOISE)],
)
def test_a_goal_is_met_or_missed_by_the_numbers(ratio, noise, verdict):
    found = outcome(pair("penalty", MLP, ratio, noise), f"penalty against the textbook, {MLP}")
    assert found.verdict == verdict
    assert found.goal == "≥ 1.5x"


def test_the_worst_case_decides_and_is_named():
    rows = pair("penalty", MLP, 1.6) + pair("penalty", OTHER, 0.9)
    found = outcome(rows, "penalty against the textbook, every critic")
    assert found.verdict == goals.MISSED
    assert OTHER in found.measured
    assert "0.90x" in found.measured


def pure(case, ratio):
    """What the pure build's process writes: textbook and library under a name of their own."""
    rows = pair("overhead", case + WITHOUT_KERNELS, ratio)
    return [r | {"contestant": r["contestant"].replace("wgan_fast", PURE)} for r in rows]


@pytest.mark.parametrize(("native", "without"), [(0.98, 0.96), (0.96, 0.98)])
def test_overhead_has_a_goal_for_each_build(native, without):
    rows = pair("overhead", "tiny", native) + pure("tiny", without)
    rows += pair("overhead", "small", 1.2) + pure("small", 1.2)
    what = "penalty against the textbook, critics with nothing to gain"
    for name, ratio in ((what, native), (f"{what}, pure build", without)):
        found = outcome(rows, name)
        assert found.verdict == (goals.MET if ratio >= 0.97 else goals.MISSED)
        assert f"{ratio:.2f}x" in found.measured
        assert "1 of 2" in found.measured or ratio >= 0.97


STEP = "step against the usual code, critics that are linear piece by piece"


@pytest.mark.parametrize(
    ("phase", "smooth", "what", "least"),
    [
        ("R1", False, f"R1 {STEP}", 1.2),
        ("R1+R2", False, f"R1+R2 {STEP}", 1.4),
        ("WGAN-GP", False, f"WGAN-GP {STEP}", 1.2),
        ("R1", True, "critic step against the usual code, every other critic", 0.98),
    ],
)
def test_steps_have_goals_by_phase_and_critic(phase, smooth, what, least):
    for ratio, verdict in ((least + 0.01, goals.MET), (least - 0.01, goals.MISSED)):
        rows = steps_pair(ratio, phase=phase, smooth=smooth)
        rows += steps_pair(9.0, "fast", phase=phase, smooth=smooth)
        assert outcome(rows, what).verdict == verdict
        others = [o for o in goals.outcomes(rows) if o.what != what]
        assert {o.verdict for o in others} == {goals.UNKNOWN}


def test_the_table_of_steps_shows_passes_and_takes_the_usual_code_as_its_measure():
    usual, ours = steps_pair(1.5, phase="R1", smooth=False)
    ours |= {"speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6, "passes": 6.96}
    header, _, line = tables.speeds([usual | {"passes": 9.0}, ours], "steps").splitlines()
    assert header == f"|  | {USUAL} | wgan_fast |"
    assert line == "| x | 1.05 s<br>9.0 passes | 700 ms<br>**1.50x** (1.40 to 1.60)<br>7.0 passes |"


@pytest.mark.parametrize(("ratio", "verdict"), [(1.25, goals.MET), (1.15, goals.MISSED)])
def test_losses_of_derivatives_have_their_goal(ratio, verdict):
    rows = [one | {"suite": "derivatives"} for one in steps_pair(ratio)]
    rows += [one | {"suite": "derivatives"} for one in steps_pair(9.0, "fast")]
    assert outcome(rows, "loss of derivatives against plain PyTorch, every case").verdict == verdict


BEST = "captured against the best of all others, every case"
BY_CALLS = "captured penalty against the textbook, critics bound by calls"


def with_captured(suite, case, ratio, captured, name=CAPTURED):
    """wgan_fast and what captures it, so many times as fast as the textbook."""
    rows = pair(suite, case, ratio)
    seconds = [s / captured for s in rows[0]["seconds"]]
    return [*rows, results.row(suite, case, name, seconds, capture_s=2.0, executor="inductor")]


@pytest.mark.parametrize(
    ("name", "captured", "verdict"),
    [(CAPTURED, 1.98, goals.MET), (CAPTURED, 1.94, goals.MISSED), (REPLAYED, 1.94, goals.MISSED)],
)
def test_captured_is_held_against_the_best_of_all(name, captured, verdict):
    rows = with_captured("steps", "x", 2.0, captured, name)
    rows += with_captured("derivatives", "y", 1.0, 9.0)
    rows += with_captured("growth", "z", 1.0, 0.1)  # of which there is no goal
    rows += pair("penalty", "without", 2.0)
    found = outcome(rows, BEST)
    assert found.verdict == verdict
    assert "x; " in found.measured
    assert outcome(rows, BY_CALLS).verdict == goals.UNKNOWN


def test_captured_counts_where_replay_ran_too():
    rows = with_captured("penalty", "x", 2.0, 2.1) + with_captured(
        "penalty", "x", 2.0, 1.0, REPLAYED
    )
    assert outcome(rows, BEST).verdict == goals.MET


@pytest.mark.parametrize(("captured", "verdict"), [(1.45, goals.MET), (1.35, goals.MISSED)])
def test_captured_has_a_goal_for_critics_bound_by_calls(captured, verdict):
    rows = with_captured("penalty", "GRU 16x64, batch 64", 1.0, captured)
    rows += with_captured("penalty", "DCGAN 64x64, batch 64", 1.0, 1.0)
    rows += with_captured("steps", "CTGAN", 1.0, 1.0)
    assert outcome(rows, BY_CALLS).verdict == verdict


def test_captures_stand_beside_first_calls():
    rows = with_captured("penalty", "x", 1.0, 1.5)
    older = pair("penalty", "y", 1.0)
    rows[1]["first_call_s"], older[1]["first_call_s"] = 0.5, 0.25
    header, _, *lines = tables.first_calls(rows + older).splitlines()
    assert header == "|  | wgan_fast | captured |"
    assert lines == ["| x | 500 ms | 2 s<br>inductor |", "| y | 250 ms | – |"]


def test_captured_is_told_in_short():
    text = tables.in_short(with_captured("penalty", "x", 2.0, 4.0))
    assert text.splitlines()[0].startswith("- against **textbook**: faster in 1 of 1")
    assert [line.partition(":")[0] for line in text.splitlines()[1:]] == [
        "- **captured** against **textbook**", "- **captured** against **wgan_fast**",
    ]  # fmt: skip


def test_calls_and_bytes_stand_in_tables_by_suite():
    first, second = pair("penalty", "x", 2.0)
    first |= {"calls": 93, "bytes": 880_400_000}
    second |= {"calls": 4, "bytes": 12_345}
    untold = pair("kernels", "y", 2.0)  # of an older race
    assert tables.counts([first, second, *untold]).splitlines() == [
        "#### penalty",
        "",
        "|  | textbook | wgan_fast |",
        "| --- | ---: | ---: |",
        "| x | 93 calls<br>880 MB | 4 calls<br>12.3 kB |",
    ]
    assert tables.counts(untold) == ""
    text = [page._counted(rows) for rows in ([first], [first | {"counted": "abc"}])]
    assert text == ["", "; calls and bytes: commit abc"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (2.31e9, "2.31 GB"),
     (123_456_789, "123 MB"), (12_000_000_000, "12.0 GB")],
)  # fmt: skip
def test_bytes_that_are_moved(count, text):
    assert moved_text(int(count)) == text


def test_both_builds_stand_in_one_line():
    rows = [
        *pair("overhead", "tiny", 1.0),
        results.row("overhead", "tiny", REFERENCE, [3.0]),
        *pure("tiny", 0.5),
    ]
    for one in rows:
        speed = {"textbook": 1.0, "wgan_fast": 1.0, REFERENCE: 0.3, PURE: 0.5}[one["contestant"]]
        one |= {"speedup": speed, "speedup_low": speed, "speedup_high": speed}
    header, _, *lines = tables.overhead(rows).splitlines()
    assert header == f"|  | textbook | wgan_fast | {REFERENCE} | {PURE} |"
    (line,) = lines
    assert line.startswith("| tiny | 1.05 s | ")
    assert [part.partition("x**")[0] for part in line.split("**")[1::2]] == [
        *("1.00x", "0.30x", "0.50x")
    ]


def test_the_pure_build_alone_is_shown_with_its_textbook():
    rows = [one | {"speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0}
            for one in pure("tiny", 0.5)]  # fmt: skip
    header, _, line = tables.overhead(rows).splitlines()
    assert header == f"|  | textbook | {PURE} |"
    assert line.startswith("| tiny | 1.05 s | ")


def test_nothing_measured_is_no_goal_met():
    assert {o.verdict for o in goals.outcomes(pair("step", "x", 2.0))} == {goals.UNKNOWN}


def test_only_the_main_setting_counts():
    rows = pair("penalty", MLP, 1.2) + pair("penalty", MLP, 9.0, threads=1)
    assert outcome(rows, f"penalty against the textbook, {MLP}").verdict == goals.MISSED


def test_a_suite_that_was_measured_with_fewer_threads_counts():
    """Or a goal that it misses would pass for not measured."""
    rows = pair("penalty", MLP, 1.6) + pair("overhead", "tiny", 0.9, threads=1)
    for one in rows:
        one |= {"speedup": 0.9, "speedup_low": 0.9, "speedup_high": 0.9}
    what = "penalty against the textbook, critics with nothing to gain"
    assert outcome(rows, what).verdict == goals.MISSED
    assert "| tiny |" in tables.overhead(rows)


@pytest.mark.parametrize(("peak", "verdict"), [(70, goals.MET), (80, goals.MISSED)])
def test_memory_has_its_goal(peak, verdict):
    rows = pair("memory", "DCGAN 64x64, batch 128", 1.0)
    for row, count in zip(rows, (100, peak), strict=True):
        row["peak_bytes"] = count
    found = [o for o in goals.outcomes(rows) if o.what.startswith("peak memory")]
    assert found[0].verdict == verdict


def test_losses_and_ties_are_listed():
    rows = [
        *pair("penalty", "won", 2.0),
        *pair("penalty", "lost", 0.5),
        *pair("step", "tied", 1.0, noise=0.3),
    ]
    text = tables.in_short(rows)
    assert "faster in 1 of 3 cases, slower in 1, within noise in 1" in text
    assert "Slower: lost (0.50x)" in text
    assert "Within noise: tied" in text
    assert "textbook" in text


def test_who_did_not_run_is_named():
    rows = pair("penalty", "x", 2.0)
    for key, reason in (("unavailable", "not installed"), ("failed", "the loss differs")):
        rows += [{**where(rows, contestant="textbook")[0], "contestant": key, key: reason}]
    text = tables.absent(rows)
    assert "unavailable, unavailable: not installed (x)" in text
    assert "failed, failed: the loss differs (x)" in text


def test_suites_that_were_measured_apart_say_so():
    def at(suite, commit, day):
        return results.row(suite, "x", "textbook", [1.0], commit=commit, measured=f"{day}T10:00:00")

    old, older = at("penalty", "abc", "2026-01-02"), at("kernels", "abc", "2026-01-02")
    assert page._commits([older, old]) == "Measured at commit abc, 2026-01-02"
    new, newer = at("steps", "def", "2026-02-03"), at("steps", "fed", "2026-02-04")
    assert page._commits([older, old, new, newer]) == (
        "Measured apart: kernels, penalty: commit abc, 2026-01-02; "
        "steps: commit def, 2026-02-03 and commit fed, 2026-02-04"
    )


def test_the_results_of_a_folder_are_those_of_its_machine():
    for folder, rows in page.machines().items():
        assert {machine.as_folder(page.machine([row])) for row in rows} == {folder}
