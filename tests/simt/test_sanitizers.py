"""The kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from simt.build import build

from .planted_bugs import BUGS, Bug

PROGRAM = Path(__file__).with_name("program.cpp")
#: The batches of program.cpp: the race detector watches small grids.
WHICH = {"asan": "all", "tsan": "few"}
ORDERS = {"forward": "0", "reverse": "1", "random": "7"}

in_each_mode = pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.simt(mode)) for mode in WHICH]
)


def run(program: Path, mode: str, order: str) -> tuple[int, str]:
    symbolizer = shutil.which("llvm-symbolizer-22")
    environment = dict(os.environ)
    if symbolizer is not None:
        environment["TSAN_OPTIONS"] = f"external_symbolizer_path={symbolizer}"
    done = subprocess.run(
        [program, WHICH[mode], ORDERS[order]],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    return done.returncode, done.stdout + done.stderr


@in_each_mode
@pytest.mark.parametrize("order", ORDERS)
def test_clean(mode: str, order: str) -> None:
    code, output = run(build(mode, PROGRAM), mode, order)
    assert code == 0, output
    assert output == "all right\n"


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=pytest.mark.simt(bug.mode), id=bug.name) for bug in BUGS]
)
def test_planted_bug_is_caught(bug: Bug) -> None:
    program = build(bug.mode, PROGRAM, edits=bug.edits())
    outputs = []
    for order in ORDERS:
        code, output = run(program, bug.mode, order)
        outputs.append(output)
        if bug.says in output:
            assert code != 0
            return
    pytest.fail(f"nobody said {bug.says!r}:\n" + "\n".join(outputs)[-3000:])
