"""tools.torch_versions: the table of releases that the tests were run under."""

import importlib.metadata

import pytest

from tools import pages
from tools.torch_versions import PAGE, closing_line, requirements, with_row

IS_INSTALLED = any(importlib.metadata.distributions(name="wgan_fast"))

TABLE = """\
| torch | build | Python | all tests |
| --- | --- | --- | --- |
| 2.9.1 | CPU | 3.11.7 | 5 passed |
| 2.13.0 | CPU | 3.11.7 | 7 passed |"""


def test_a_release_replaces_its_older_row():
    new = with_row(TABLE, ["2.13.0", "CUDA 13.0", "3.12.1", "8 passed"])
    assert new == TABLE.replace(
        "| 2.13.0 | CPU | 3.11.7 | 7 passed |", "| 2.13.0 | CUDA 13.0 | 3.12.1 | 8 passed |"
    )


def test_releases_are_in_order():
    lines = with_row(TABLE, ["2.11.0", "CPU", "3.11.7", "6 passed"]).splitlines()
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
