"""Data flows one way: who may import whom."""

import ast
import graphlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for path in ROOT.glob("csrc/*/*") if path.suffix in {".h", ".cpp", ".cu", ".cuh"}]

#: What the penalties are made of, top down; nobody above may be imported from below.
_PUBLIC = {
    f"wgan_fast.{name}"
    for name in (
        "captured",
        "critic_loss",
        "diagnostics",
        "distributed",
        "frozen",
        "gradient_penalty",
        "lazy",
        "losses",
        "path_length",
        "penalties",
        "penalties_of_scores",
        "regularisers",
    )
}

#: folder: what its files must not import
FORBIDDEN = {
    "wgan_fast": {"tests", "benchmarks", "examples", "simt", "tools", "setup"},
    "simt": {"tests", "benchmarks", "examples", "tools"},
    "wgan_fast/ops": {
        *_PUBLIC,
        *("wgan_fast._penalise", "wgan_fast.second_order", "wgan_fast._capture"),
    },
    "wgan_fast/second_order": {*_PUBLIC, "wgan_fast._penalise", "wgan_fast._capture"},
    "wgan_fast/_penalise": {*_PUBLIC, "wgan_fast._capture"},
    "wgan_fast/_capture": _PUBLIC,
    "tools": {"tests", "benchmarks", "examples", "setup"},
    "benchmarks": {"tests", "examples", "setup"},
    "examples": {"tests", "tools", "benchmarks", "setup"},
}

#: The modules and folders of benchmarks: each may know itself and what stands above it here.
BENCHMARK_LAYERS = (
    {"counting", "machine", "timing"},
    {"calls", "flops"},
    {"problems"},
    {"contestants"},
    {"suites"},
    {"race", "report"},
    {
        "compare", "double_backward", "finite_difference", "gpu_bandwidth", "gpu_steps", "passes",
        "plot", "soak",
    },
)  # fmt: skip

#: folder: the headers that its files must not include
FORBIDDEN_HEADERS = {
    "common": r"torch/|ATen/|c10/|cuda|\.\./",
    "cpu": r"torch/|ATen/|c10/|cuda|\.\./(?!common/)",
    "cuda": r"torch/|ATen/|c10/|\.\./(?!common/)",
    "torch": r"ATen/|c10/",  # the stable ABI has neither
}


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """The absolute names of all that a module imports, and of their parents."""
    pairs = imported(ast.walk(ast.parse(source)), module, is_package)
    names = {name for base, alias in pairs for name in (base, f"{base}.{alias}".rstrip("."))}
    return {".".join(name.split(".")[:end]) for name in names for end in (1, 2, 3)}


def imported(nodes: Iterable[ast.AST], module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """What a module imports: the absolute name of a module, and what from it ("" for itself)."""
    package = module if is_package else module.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((base, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    ("line", "module", "is_package", "name"),
    [
        ("import tests.critics", "wgan_fast.critic", False, "tests"),
        ("from benchmarks import race", "wgan_fast.critic", False, "benchmarks"),
        ("from ..penalties import x", "wgan_fast.ops.philox", False, "wgan_fast.penalties"),
        ("from .. import penalties", "wgan_fast.ops.philox", False, "wgan_fast.penalties"),
        ("from .. import penalties", "wgan_fast.ops", True, "wgan_fast.penalties"),
        ("import wgan_fast.penalties as p", "wgan_fast.ops", True, "wgan_fast.penalties"),
        (
            "def f():\n    from ..second_order import x",
            "wgan_fast.ops.a",
            False,
            "wgan_fast.second_order",
        ),
        ("from .._penalise import chunks", "wgan_fast.ops.a", False, "wgan_fast._penalise.chunks"),
    ],
)
def test_imports_are_seen(line, module, is_package, name):
    assert name in imports_of(line, module, is_package)


def modules_of(folder: str) -> Iterator[tuple[str, bool, str]]:
    """Every module of a folder: its name, whether it is a package, its source."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if is_package else parts), is_package, file.read_text()


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports(folder):
    modules = list(modules_of(folder))
    assert modules
    for module, is_package, source in modules:
        wrong = imports_of(source, module, is_package) & FORBIDDEN[folder]
        assert not wrong, f"{module} must not import {', '.join(wrong)}"


def test_what_is_forbidden_exists():
    """Or a module that has moved would be allowed everywhere."""
    everywhere = {name for folder in FORBIDDEN for name, _, _ in modules_of(folder)}
    everywhere |= {path.stem for path in ROOT.iterdir()}
    assert {name for names in FORBIDDEN.values() for name in names} <= everywhere


def known_layers(part: str) -> set[str]:
    """What a module or folder of benchmarks may know of the others."""
    (index,) = [i for i, layer in enumerate(BENCHMARK_LAYERS) if part in layer]
    return {part}.union(*BENCHMARK_LAYERS[:index])


def test_layers_of_benchmarks():
    for module, is_package, source in modules_of("benchmarks"):
        if module == "benchmarks":
            assert not ast.parse(source).body[1:], "it has its docstring alone"
            continue
        known = known_layers(module.split(".")[1])
        names = [name.split(".") for name in imports_of(source, module, is_package)]
        others = {name[1] for name in names if name[0] == "benchmarks" and name[1:]}
        assert others <= known, f"{module} must not import {', '.join(others - known)}"


def when_imported(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: all but the bodies of its functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from when_imported(child)


def circle_among(modules: Iterable[tuple[str, bool, str]]) -> list[str]:
    """Modules that cannot be imported without each other, the first one named twice; or none.

    ``from package import module`` asks for the module and nothing else of the package.
    """
    modules = list(modules)
    names = {module for module, _, _ in modules}
    graph: dict[str, set[str]] = {}
    for module, is_package, source in modules:
        pairs = imported(when_imported(ast.parse(source)), module, is_package)
        found = {name if (name := f"{base}.{part}") in names else base for base, part in pairs}
        graph[module] = found & names
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize(
    ("sources", "circle"),
    [
        ({"p.a": "from . import b", "p.b": "from .c import x", "p.c": "import p.a"}, "abc"),
        ({"p.a": "from . import b", "p.b": "if True:\n    from .a import x"}, "ab"),
        ({"p.a": "from . import b", "p.b": "class C:\n    from p import a"}, "ab"),
        ({"p.a": "from . import b", "p.b": "def f():\n    from .a import x"}, ""),
        ({"p": "from .a import x", "p.a": "from . import b", "p.b": "import torch"}, ""),
        ({"p": "from .a import x", "p.a": "from . import b, x", "p.b": ""}, "ap"),
    ],
)
def test_circles_are_seen(sources, circle):
    found = circle_among((name, name == "p", source) for name, source in sources.items())
    assert "".join(sorted({name[-1] for name in found})) == circle


@pytest.mark.parametrize("folder", ["wgan_fast", "tools", "benchmarks"])
def test_imports_know_no_circle(folder):
    assert circle_among(modules_of(folder)) == []


@pytest.mark.parametrize("folder", FORBIDDEN_HEADERS)
def test_includes(folder):
    files = [path for path in SOURCES if path.parent.name == folder]
    assert files
    for file in files:
        for header in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', file.read_text(), re.MULTILINE):
            assert not re.match(FORBIDDEN_HEADERS[folder], header), f"{file} includes {header}"


def test_kernels_never_see_python():
    assert SOURCES
    for file in SOURCES:
        assert not re.search(r"Python\.h|PyObject|PyInit|pybind", file.read_text()), file


#: The operators' kernels: a file of this name in every folder.
STEMS = sorted(path.stem for path in SOURCES if path.suffix == ".cu")
STRUCTS = ROOT / "csrc" / "common" / "arguments.h"


def kernels() -> list[str]:
    """The structs that are arguments of a kernel: ``InterpolateArgs``..."""
    (block,) = re.findall(
        r"#define WGAN_FAST_FOR_EACH_KERNEL\(F\)((?:.*\\\n)+.*)", STRUCTS.read_text()
    )
    return re.findall(r"F\((\w+)\)", block)


@pytest.mark.parametrize("stem", STEMS)
def test_an_operator_has_the_same_name_in_every_folder(stem):
    assert (ROOT / "wgan_fast" / "ops" / f"{stem}.py").exists()
    files = {f"{path.parent.name}/{path.name}" for path in SOURCES if path.stem == stem}
    assert files == {
        *(f"cpu/{stem}.h", f"cpu/{stem}.cpp"),
        *(f"cuda/{stem}.cu", f"torch/{stem}.cpp"),
    }


@pytest.mark.parametrize("suffix", [".cpp", ".cu"])
def test_every_backend_has_an_overload_for_every_argument(suffix):
    folder = {".cpp": "cpu", ".cu": "cuda"}[suffix]
    texts = [p.read_text() for p in SOURCES if p.suffix == suffix and p.parent.name == folder]
    found = [name for text in texts for name in re.findall(r" run\(const (\w+)<T>&", text)]
    assert len(kernels()) == len(set(kernels())) > 0
    assert sorted(found) == sorted(kernels())


@pytest.mark.parametrize("program", ["tests/native/exact_buffers.cpp", "tests/simt/program.cpp"])
def test_every_kernel_runs_under_sanitizers(program):
    folder = (ROOT / program).parent  # a program, and the headers beside it
    text = "".join(path.read_text() for path in folder.iterdir() if path.suffix in {".h", ".cpp"})
    assert [name for name in kernels() if f"{name}<T>" not in text] == []


def test_only_its_own_files_name_an_operator():
    """An operator more is files more: none of the others has to know of it."""
    assert {"interpolate", "norm_penalty"} <= set(STEMS)
    camel_case = [stem.title().replace("_", "") for stem in STEMS]
    named = re.compile("|".join([*STEMS, *camel_case]))
    shared = [path for path in SOURCES if path.stem not in STEMS and path != STRUCTS]
    assert {"torch/cpu.cpp", "torch/cuda.cpp", "cpu/kernels.h", "cuda/kernels.h"} <= {
        f"{path.parent.name}/{path.name}" for path in shared
    }
    for path in [*shared, ROOT / "setup.py", ROOT / "CMakeLists.txt"]:
        assert not named.search(path.read_text()), f"{path} names an operator"
