"""docs/internals.md: what it names is there, and what is there is named."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.test_layers import imports_of, modules_of
from tools import pages
from wgan_fast._torch_internals import LOOKED_UP

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wgan_fast"
PAGE = ROOT / "docs" / "internals.md"
TEXT = PAGE.read_text()
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)
FOLDERS = ["", *sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))]


def part(begin: str, end: str) -> str:
    """What stands on the page between two texts."""
    found = TEXT.partition(begin)[2].partition(end)[0]
    assert found, begin
    return found


#: Where the modules of each folder of the package are described.
DESCRIBED = {
    "": part("## The package", "`wgan_fast/_penalise/`"),
    "_penalise": part("`wgan_fast/_penalise/`", "`wgan_fast/second_order/`"),
    "second_order": part("`wgan_fast/second_order/`", "`wgan_fast/ops/`"),
    "ops": part("`wgan_fast/ops/`", "`wgan_fast/_capture/`"),
    "_capture": part("`wgan_fast/_capture/`", "## Who may import whom"),
}


def test_every_folder_of_the_repository_is_named():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    folders = {path.name for path in ROOT.glob("[!.]*") if path.is_dir()}
    folders = {name for name in folders if not any(fnmatch(name, each) for each in ignored)}
    assert {"csrc", "wgan_fast"} <= folders
    table = part("## The folders", "`setup.py`")
    assert {name for name in folders if f"`{name}/`" not in table} == set()


def test_every_folder_of_the_package_is_described():
    assert sorted(DESCRIBED) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_described_in_its_place(folder):
    inside = PACKAGE / folder
    modules = {str(p.relative_to(inside)) for p in inside.glob("*.py") if p.stat().st_size > 200}
    modules |= {str(p.relative_to(inside)) for p in inside.glob("layers/*.py")}
    if folder not in ("", "_penalise"):  # of the others, the tables are the description
        modules.discard("__init__.py")
    named = set(re.findall(r"`([\w/]+\.py)`", DESCRIBED[folder]))
    assert modules - named == set()
    assert {name for name in named if not (inside / name).is_file()} == set()


def test_every_file_that_is_named_exists():
    everywhere = [ROOT, PACKAGE, *(PACKAGE / folder for folder in FOLDERS)]
    names = [name for name in QUOTED if re.fullmatch(r"[\w./]*(/|\.(py|h|cpp|cu|toml))", name)]
    assert len(names) > 100
    assert [name for name in names if not any((each / name).exists() for each in everywhere)] == []


def test_every_name_in_the_steps_is_in_the_code():
    files = [path for folder in (PACKAGE, ROOT / "csrc") for path in folder.rglob("*.*")]
    texts = [path.read_text() for path in files if path.suffix in {".py", ".h", ".cpp", ".cu"}]
    known = {word for text in texts for word in re.findall(r"\w+", text)} | {"csrc"}
    steps = part("## One call of `fast_gradient_penalty`", "## Private names")
    quoted = [each for each in re.findall(r"`([^`\n]+)`", steps) if "/" not in each]
    names = {n for each in quoted for n in re.findall(r"[A-Za-z_]\w*", each.removesuffix(".py"))}
    assert len(names) > 60
    stems = {path.stem for path in files}
    assert sorted(names - known - stems) == []


def test_the_layers_are_those_of_the_imports():
    lines = pages.read("layers", PAGE).splitlines()
    layers = [set(re.findall(r"`(\w+)`", line)) for line in lines]
    level = {name: index for index, names in enumerate(layers) for name in names}
    units = set()
    for module, is_package, source in modules_of("wgan_fast"):
        unit = module.split(".")[1] if "." in module else module
        if unit in ("wgan_fast", "__main__"):  # the public names, and a command
            continue
        units.add(unit)
        names = [name.split(".") for name in imports_of(source, module, is_package)]
        imported = {name[1] for name in names if name[0] == "wgan_fast" and name[1:]}
        for other in imported & level.keys():
            assert level[unit] <= level[other], f"{module} imports {other}"
    assert units == set(level)


def test_every_private_name_of_pytorch_is_told():
    rows = pages.read("private names", PAGE).splitlines()[2:]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(names) == sorted(LOOKED_UP)
