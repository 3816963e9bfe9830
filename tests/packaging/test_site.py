"""The documentation site and what else a project shows: complete, and of one mind with the code.

``make docs`` builds it, with warnings as errors; these look at the files.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import wgan_fast
from wgan_fast import distributed, ops, second_order

ROOT = Path(__file__).parents[2]
PAGES = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))["PAGES"]
LISTED = [page for pages in PAGES.values() for page in pages]


def documented() -> list[str]:
    """The names that the reference pages take from the docstrings."""
    names = []
    for page in sorted((ROOT / "docs" / "api").glob("*.md")):
        found = re.findall(r"^\.\. auto(?:function|class|data):: (\S+)", page.read_text(), re.M)
        names += [name.rpartition(".")[2] for name in found]
    return names


def test_every_public_name_has_its_place_in_the_reference():
    # The registry and the operators that layers are made of are for those who extend the library.
    extending = {name for name in ops.__all__ if name.isupper()}
    modules = wgan_fast, distributed, ops, second_order
    public = {name for module in modules for name in module.__all__} - extending
    assert sorted(documented()) == sorted(public)


def test_every_page_is_in_the_navigation():
    folders = (ROOT / "docs" / folder for folder in ("", "api", "releases"))
    pages = [page for folder in folders for page in folder.glob("*.md")]
    missing = [str(page.relative_to(ROOT)) for page in pages if _name(page) not in LISTED]
    assert missing == []


def test_every_page_of_the_navigation_is_there_once():
    assert sorted(set(LISTED)) == sorted(LISTED)
    assert [page for page in LISTED if not (ROOT / f"{page}.md").is_file()] == []


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT).with_suffix(""))


def test_one_version():
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert stated is not None
    assert cited is not None
    assert stated[1] == cited[1]
    assert (ROOT / "docs" / "releases" / f"{stated[1]}.md").is_file()


def test_the_changelog_is_dated_and_in_groups():
    text = (ROOT / "CHANGELOG.md").read_text()
    titles = re.findall(r"^## (.+)$", text, re.M)
    released = [title for title in titles if title != "Unreleased"]
    assert titles[0] in ("Unreleased", released[0])
    for title in released:
        assert re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title)
    groups = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= groups
    cited = re.findall(
        r"^(?:version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M
    )
    assert " - ".join(cited) == released[0]


@pytest.mark.parametrize("tool", ["ruff", "clang-format", "pyright"])
def test_the_hooks_before_a_commit_are_those_of_make_lint(tool):
    pinned = re.search(rf'"{tool}(?:\[\w+\])?==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    revision = re.search(rf"repo: \S*{tool}\S*\n    rev: v([\d.]+)", hooks)
    assert pinned is not None
    assert revision is not None
    assert pinned[1] == revision[1]


def test_checkpoints_are_read_without_running_code():
    """As SECURITY.md says, everywhere."""
    loads = [
        (path.name, line)
        for folder in ("wgan_fast", "examples", "benchmarks", "tools")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if "torch.load(" in line or "pickle.load" in line
    ]
    assert loads
    assert [load for load in loads if "weights_only=True" not in load[1]] == []
