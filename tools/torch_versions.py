"""Runs every test under other releases of PyTorch, and records what came of it in docs/abi.md.

    python -m tools.torch_versions 2.11.0 2.15.0

Each release gets a virtual environment below ``build``, which is removed afterwards: on Linux they
are CUDA builds of 5 GB. The compiled kernels are those of this checkout, built once by whichever
PyTorch it was installed with: that one binary serves all of them is what is to be shown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools import pages

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "abi.md"
FOLDER = ROOT / "build" / "torch-versions"
HEAD = ("torch", "build", "Python", "commit", "all tests")
#: It looks at the table that is about to be written.
THE_TABLES_OWN = "tests/packaging/test_torch_versions.py::test_every_recorded_release_passed"
#: As in `make test`.
PROCESSES = ("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile")
#: What the tests ask of the environment besides torch.
EXTRAS = ("examples", "test")


def requirements() -> list[str]:
    """What the tests need, as the installed package tells it."""
    needed = ["setuptools>=77", "wheel", "ninja", "numpy"]
    for requirement in importlib.metadata.requires("wgan_fast") or []:
        name, _, marker = requirement.partition(";")
        if any(extra in marker for extra in EXTRAS):
            needed.append(name.strip())
    return needed


def make_environment(version: str) -> Path:
    """The Python of a new environment with this release of torch."""
    folder = FOLDER / version
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"torch=={version}"], check=True)
    subprocess.run([*install, f"torch=={version}", *requirements()], check=True)
    return python


def closing_line(output: str) -> str:
    """``1800 passed, 3 skipped`` from what pytest printed, without the time that it took."""
    found = re.findall(r"^=* ?((?:\d+ \w+,? ?)+) in [\d.]+s", output, re.MULTILINE)
    if not found:
        raise SystemExit(f"the tests broke off:\n{output[-3000:]}")
    return found[-1]


def row(python: Path) -> list[str]:
    """Runs all tests and describes what came of it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ask = "import platform, torch; print(torch.__version__, torch.version.cuda or 'none', "
    ask += "platform.python_version())"
    said = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    version, cuda, python_version = said.stdout.split()
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PROCESSES]
    run = subprocess.run(
        [*pytest, "--deselect", THE_TABLES_OWN],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    print(run.stdout[-3000:], run.stderr[-1000:], flush=True)
    build = "CPU" if cuda == "none" else f"CUDA {cuda}"
    release = version.partition("+")[0]
    return [release, build, python_version, commit(), closing_line(run.stdout)]


def commit() -> str:
    command = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def with_row(table: str, new: list[str]) -> str:
    """The table with a release's row in place of an older one of the same release, in order."""
    lines = table.strip().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = [row for row in rows if row[0] != new[0]] + [new]
    rows.sort(key=lambda row: tuple(map(int, row[0].split("."))))
    return pages.table(HEAD, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", help="releases of torch, one after the other")
    parser.add_argument("--python", type=Path, help="instead: a Python that has torch already")
    options = parser.parse_args()
    if options.python is not None:
        record(row(options.python.absolute()))
    for version in options.versions:
        python = make_environment(version)
        try:
            record(row(python))
        finally:
            shutil.rmtree(FOLDER / version)


def record(new: list[str]) -> None:
    pages.write("torch versions", with_row(pages.read("torch versions", PAGE), new), PAGE)


if __name__ == "__main__":
    main()
