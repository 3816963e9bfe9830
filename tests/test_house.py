"""Data flows one way through the house: who may know whom."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for path in ROOT.glob("csrc/*/*") if path.suffix in {".h", ".cpp", ".cu", ".cuh"}]

#: room: what its files must not import
FORBIDDEN = {
    "wgan_fast": {"tests", "benchmarks", "examples", "setup"},
    "wgan_fast/ops": {
        "wgan_fast.penalties",
        "wgan_fast.mechanism",
        "wgan_fast.critic",
        "wgan_fast._penalise.chunks",
        "wgan_fast.second_order",
    },
    "wgan_fast/second_order": {
        "wgan_fast.penalties",
        "wgan_fast.mechanism",
        "wgan_fast._penalise.chunks",
        "wgan_fast.ops",
    },
    "benchmarks": {"tests"},
    "examples": {"tests"},
}

#: room: the headers that its files must not include
FORBIDDEN_HEADERS = {
    "common": r"torch/|ATen/|c10/|cuda|\.\./",
    "cpu": r"torch/|ATen/|c10/|cuda|\.\./(?!common/)",
    "cuda": r"torch/|ATen/|c10/|\.\./(?!common/)",
    "torch": r"ATen/|c10/",  # the stable ABI has neither
}


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """The absolute names of all that a module imports, and of their parents."""
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:end]) for name in names for end in (1, 2)}


@pytest.mark.parametrize(
    ("line", "module", "is_package", "name"),
    [
        ("import tests.critics", "wgan_fast.critic", False, "tests"),
        ("from benchmarks import race", "wgan_fast.critic", False, "benchmarks"),
        ("from ..penalties import x", "wgan_fast.ops.philox", False, "wgan_fast.penalties"),
        ("from .. import penalties", "wgan_fast.ops.philox", False, "wgan_fast.penalties"),
        ("from .. import penalties", "wgan_fast.ops", True, "wgan_fast.penalties"),
        ("import wgan_fast.penalties as p", "wgan_fast.ops", True, "wgan_fast.penalties"),
        ("def f():\n    from ..ops import x", "wgan_fast.second_order.a", False, "wgan_fast.ops"),
    ],
)
def test_imports_are_seen(line, module, is_package, name):
    assert name in imports_of(line, module, is_package)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        wrong = imports_of(file.read_text(), module, is_package) & FORBIDDEN[room]
        assert not wrong, f"{module} must not import {', '.join(wrong)}"


@pytest.mark.parametrize("room", FORBIDDEN_HEADERS)
def test_includes(room):
    files = [path for path in SOURCES if path.parent.name == room]
    assert files
    for file in files:
        for header in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', file.read_text(), re.MULTILINE):
            assert not re.match(FORBIDDEN_HEADERS[room], header), f"{file} includes {header}"


def test_kernels_never_see_python():
    assert SOURCES
    for file in SOURCES:
        assert not re.search(r"Python\.h|PyObject|PyInit|pybind", file.read_text()), file


@pytest.mark.parametrize("stem", ["interpolate", "norm_penalty"])
def test_an_operator_has_the_same_name_in_every_room(stem):
    assert (ROOT / "wgan_fast" / "ops" / f"{stem}.py").exists()
    assert {path.parent.name for path in SOURCES if path.stem == stem} == {"cpu", "cuda"}
