"""tools.torch_versions: the table of releases that the tests were run under."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from tools import pages
from tools.torch_versions import PAGE, closing_line, requirements, with_row

IS_INSTALLED = any(importlib.metadata.distributions(name="wgan_fast"))

TABLE = """\
| torch | build | Python | commit | all tests |
| --- | --- | --- | --- | --- |
| 2.9.1 | CPU | 3.11.7 | abc | 5 passed |
| 2.13.0 | CPU | 3.11.7 | abc | 7 passed |"""


def test_a_release_replaces_its_older_row():
    new = with_row(TABLE, ["2.13.0", "CUDA 13.0", "3.12.1", "def", "8 passed"])
    assert new == TABLE.replace(
        "| 2.13.0 | CPU | 3.11.7 | abc | 7 passed |",
        "| 2.13.0 | CUDA 13.0 | 3.12.1 | def | 8 passed |",
    )


def test_releases_are_in_order():
    lines = with_row(TABLE, ["2.11.0", "CPU", "3.11.7", "abc", "6 passed"]).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["2.9.1", "2.11.0", "2.13.0"]


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("....\n10 passed, 2 skipped in 3.21s\n", "10 passed, 2 skipped"),
        (
            "x\n1 failed, 10 passed, 2 skipped in 63.21s (0:01:03)\n",
            "1 failed, 10 passed, 2 skipped",
        ),
    ],
)
def test_closing_line(printed, line):
    assert closing_line(printed) == line


def test_broken_off_tests_are_no_row():
    with pytest.raises(SystemExit, match="broke off"):
        closing_line("Segmentation fault")


@pytest.mark.skipif(not IS_INSTALLED, reason="wgan_fast is not installed, only on the path")
def test_requirements_are_those_of_the_package():
    assert {"pytest", "hypothesis", "scipy"} <= {name.partition(">")[0] for name in requirements()}


def test_every_recorded_release_passed():
    rows = pages.read("torch versions", PAGE).splitlines()[2:]
    assert rows
    assert not [row for row in rows if "failed" in row or "error" in row]


ROOT = Path(__file__).parents[2]


def minor(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")[:2]))


def found(pattern: str, file: str) -> list[str]:
    return re.findall(pattern, (ROOT / file).read_text())


def test_what_is_supported_is_the_same_everywhere():
    """As docs/abi.md promises: the oldest is the lower bound, both ends are tested."""
    (version,) = found(r'\nversion = "(\d+\.\d+)', "pyproject.toml")
    ((oldest, newest),) = found(
        rf"\n\| {re.escape(version)} \| ([\d.]+) to ([\d.]+) \|", "docs/abi.md"
    )
    ends = [minor(oldest), minor(newest)]
    assert newest.partition(".")[0] == oldest.partition(".")[0]
    assert ends[1][1] - ends[0][1] >= 4, "five minor releases"
    assert found(r'"torch>=([\d.]+)"', "pyproject.toml") == [oldest]
    assert found(r"torch==([\d.]+) --extra-index-url", "pyproject.toml") == [f"{oldest}.0"]
    (target,) = found(r'TARGET = "0x(\w{4})0{12}"', "setup.py")
    assert (int(target[:2], 16), int(target[2:], 16)) == ends[0]
    assert found(r"torch ([\d.]+) to ([\d.]+) with one binary", "README.md") == [(oldest, newest)]
    tested = [
        minor(row.split("|")[1].strip())
        for row in pages.read("torch versions", PAGE).splitlines()[2:]
    ]
    assert [min(tested), max(tested)] == ends
    in_workflow = [minor(r) for r in found(r'"(2\.\d+\.\d+)"', ".github/workflows/tests.yml")]
    assert [min(in_workflow), max(in_workflow)] == ends
