"""The whole race in its quick form: it runs, its results are complete, and they can be used."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from benchmarks import compare
from benchmarks.contestants import CAPTURED, COMPILE, COMPILED, REPLAYED, TRACED
from benchmarks.contestants.critic_losses import CRITIC_LOSSES, USUAL
from benchmarks.contestants.penalties import PENALTIES, PURE, REFERENCE, why_not_native
from benchmarks.race import suite
from benchmarks.race.__main__ import parse
from benchmarks.race.counts import COUNTS
from benchmarks.report import page, pictures, results
from benchmarks.suites import SUITES, steps
from benchmarks.suites.overhead import WITHOUT_KERNELS

ROOT = Path(compare.__file__).parent.parent

#: What every row carries.
SETTING = (
    "processor", "cores", "device", "threads", "python", "torch", "jax", "wgan_fast", "commit",
    "allocator", "copy_gb_per_s", "matmul_gflops", "measured",
)  # fmt: skip


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The rows of a quick race; its JSON and CSV lie in the folder."""
    folder = tmp_path_factory.mktemp("race")
    command = [sys.executable, "-m", "benchmarks.race", "--quick"]
    command += ["--json", str(folder / "race.json"), "--csv", str(folder / "race.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder, json.loads((folder / "race.json").read_text())


def test_every_suite_has_results(quick):
    _, rows = quick
    assert {row["suite"] for row in rows} == set(SUITES)


def test_every_row_tells_its_machine_and_its_outcome(quick):
    _, rows = quick
    for row in rows:
        assert [key for key in SETTING if not row.get(key)] == []
        outcomes = row.keys() & {"median_s", "peak_bytes", "unavailable"}
        assert outcomes, row
        if "median_s" in row:
            assert len(row["seconds"]) == row["rounds"] >= 3
            assert 0 < row["q20_s"] <= row["median_s"] <= row["q80_s"]
            assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
            assert row["reference_s"] > 0


def test_all_contestants_race_or_say_why_not(quick):
    _, rows = quick
    case = results.by_case(results.where(rows, suite="penalty"))["MLP 2-16-1, batch 64"]
    assert set(case) == {*PENALTIES, CAPTURED, REPLAYED, COMPILE, TRACED, "JAX jit"}
    for name, row in case.items():
        assert "median_s" in row or len(row["unavailable"]) > 10, name


def test_calls_and_bytes_are_counted_wherever_pytorch_calls_operators(quick):
    _, rows = quick
    for row in rows:
        counted = "failed" not in row and "unavailable" not in row
        if counted and row["contestant"] not in COMPILED:
            assert row["calls"] >= 1
            assert row["bytes"] > 0
        else:
            assert "calls" not in row
            assert "bytes" not in row
    case = results.by_case(results.where(rows, suite="kernels"))
    forward = case["random_interpolate 64x256 float32, forward"]
    # Drawn, multiplied, subtracted from 1, multiplied and added, of rows that are broadcast.
    assert forward["textbook"]["calls"] == 5
    assert forward["textbook"]["bytes"] == 4 * (5 * 64 + 64 * 256 * (2 + 2 + 3))
    assert forward["tuned"]["calls"] == 2
    assert forward["tuned"]["bytes"] == 4 * (2 * 64 + 3 * 64 * 256)


def test_counts_are_put_into_results_that_have_none(quick, tmp_path):
    """The same as in the race itself; times stay, and cases of other races do."""
    _, rows = quick
    path = tmp_path / "race.json"
    old = [{k: v for k, v in row.items() if k not in (*COUNTS, "counted")} for row in rows]
    old.append(old[0] | {"case": "of another race"})
    path.write_text(json.dumps(old))
    command = [sys.executable, "-m", "benchmarks.race", "--quick", "--counts-only", "--suite"]
    command += ["overhead", "steps", "memory", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    new = json.loads(path.read_text())
    assert len(new) == len(old)
    for before, after, raced in zip(old, new, [*rows, {}], strict=True):
        assert before.items() <= after.items()
        if raced.get("suite") in ("overhead", "steps", "memory"):
            assert {k: after.get(k) for k in COUNTS} == {k: raced.get(k) for k in COUNTS}
            assert ("counted" in after) == ("calls" in raced)
        else:
            assert after == before


def test_counts_alone_need_results_to_put_them_into(tmp_path, capsys):
    for arguments in ([], ["--json", str(tmp_path / "none.json")]):
        with pytest.raises(SystemExit):
            parse(["--counts-only", *arguments])
        assert "needs --json" in capsys.readouterr().err


def test_captured_losses_tell_how_long_their_capture_took(quick):
    folder, rows = quick
    for row in rows:
        is_graph = row["contestant"] in (CAPTURED, REPLAYED) and "median_s" in row
        assert is_graph == ("capture_s" in row) == ("executor" in row)
    suites = {row["suite"] for row in rows if "capture_s" in row}
    assert suites == {"penalty", "step", "steps", "derivatives"}
    with (folder / "race.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["capture_s"] for line in lines] == [str(row.get("capture_s", "")) for row in rows]


def test_steps_are_raced_against_the_usual_code(quick):
    _, rows = quick
    cases = results.by_case(results.where(rows, suite="steps"))
    assert {row["phase"] for row in results.where(rows, suite="steps")} == set(steps.PHASES)
    for case in cases.values():
        assert list(case) == [*CRITIC_LOSSES, CAPTURED, REPLAYED, COMPILE, TRACED, "JAX jit"]
        assert all(row["baseline"] == USUAL for row in case.values())
        assert case[USUAL]["speedup"] == 1
        # What the first layer need not compute, the gradient of its input, is less than one pass.
        whole = {"R1": 9, "R1+R2": 12, "WGAN-GP": 12}[case[USUAL]["phase"]]
        assert whole - 1 < case[USUAL]["passes"] <= whole
        assert "passes" not in case["JAX jit"]


def test_overhead_is_raced_with_and_without_compiled_kernels(quick):
    _, rows = quick
    builds = set()
    for row in results.where(rows, suite="overhead"):
        pure = row["case"].endswith(WITHOUT_KERNELS)
        assert (row["instruction_set"] == "none") == pure
        assert (row["contestant"] == PURE) <= pure
        assert "median_s" in row
        builds.add((pure, row["contestant"]))
    native = {(False, name) for name in ("textbook", "tuned", "wgan_fast", REFERENCE)}
    without = {(True, name) for name in ("textbook", "tuned", PURE)}
    assert builds == (without if why_not_native("cpu") else native | without)


def test_a_pure_race_that_finds_kernels_is_refused(tmp_path, monkeypatch, capsys):
    if why_not_native("cpu") is not None:
        pytest.skip("there are no compiled kernels to find")
    out = tmp_path / "rows.json"
    command = ["suite", "overhead", str(out), "--threads", "1", "--allocator", "tuned", "--pure"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        suite.main()
    assert "found its compiled kernels" in capsys.readouterr().err
    assert not out.exists()


def test_memory_is_measured(quick):
    _, rows = quick
    peaks = {
        row["contestant"]: row.get("peak_bytes") for row in results.where(rows, suite="memory")
    }
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is measured on Linux only")
    # The tensors of the textbook's double backward: at least a few times the input of 32x3x32x32.
    assert peaks["textbook"] > 4 * 32 * 3 * 32 * 32 * 4
    assert peaks["wgan_fast"] > 0


def test_the_csv_holds_the_same_rows(quick):
    folder, rows = quick
    with (folder / "race.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["case"] for line in lines] == [row["case"] for row in rows]
    assert [line["contestant"] for line in lines] == [row["contestant"] for row in rows]


def test_the_results_can_be_drawn_reported_and_compared(quick):
    folder, rows = quick
    mpl.use("Agg")
    drawn = pictures.draw(rows, folder)
    assert {path.name for path in drawn} == set(pictures.PICTURES)
    assert all(path.stat().st_size > 5000 for path in drawn)
    text = page.report({"here": rows})
    shown = ("penalty", "step", "steps", "memory")
    for case in {row["case"] for row in rows if row["suite"] in shown}:
        assert case in text
    assert {change.verdict(compare.MARGIN) for change in compare.changes(rows, rows)} == {"same"}
