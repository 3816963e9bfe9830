"""The wheels: what is in them, and that they work where they are unpacked."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.packaging.conftest import ROOT, copy_of_the_sources, environment
from wgan_fast.ops import REGISTRY

#: As pyproject.toml has it, and nothing else.
(VERSION,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
MODULES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "wgan_fast").rglob("*")
    if path.suffix in (".py", ".typed")
)


def wheel_of(mode, folder):
    """Builds the wheel as a user would, and unpacks it."""
    sources, out = folder / "sources", folder / "out"
    sources.mkdir()
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*command, "-w", out],
        cwd=copy_of_the_sources(sources),
        env=environment(WGAN_FAST_BUILD=mode, MAX_JOBS="2"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return wheel, folder / "installed"


@pytest.fixture(scope="module")
def pure(tmp_path_factory):
    return wheel_of("none", tmp_path_factory.mktemp("pure"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("the compiled wheel: there is no C++ compiler")
    return wheel_of("cpu", tmp_path_factory.mktemp("compiled"))


def report_of(installed):
    """What ``python -m wgan_fast`` says, run from elsewhere with the unpacked wheel alone."""
    code = "import wgan_fast; print(wgan_fast.__file__)"
    env = environment(PYTHONPATH=str(installed))
    where, report = (
        subprocess.run([sys.executable, *words], cwd="/", env=env, capture_output=True, text=True)
        for words in (["-c", code], ["-m", "wgan_fast"])
    )
    assert where.stdout.strip() == str(installed / "wgan_fast" / "__init__.py")
    assert report.returncode == 0, report.stdout + report.stderr
    return {
        words[0]: words[1] for line in report.stdout.splitlines() if (words := line.split())[1:]
    }


def files_of(installed):
    return sorted(
        str(path.relative_to(installed))
        for path in installed.rglob("*")
        if path.is_file() and ".dist-info" not in str(path) and "__pycache__" not in str(path)
    )


def test_the_pure_wheel(pure):
    """Any Python, any platform; the package and nothing else."""
    wheel, installed = pure
    assert wheel.name == f"wgan_fast-{VERSION}-py3-none-any.whl"
    assert files_of(installed) == MODULES
    report = report_of(installed)
    assert report["wgan_fast"] == VERSION
    assert all(report[name] == "pytorch" for name in REGISTRY)


def test_the_compiled_wheel(compiled):
    """One binary for every Python from 3.10 on; no sources, no tests."""
    wheel, installed = compiled
    tag = f"{platform.system().lower()}_{platform.machine()}"
    assert wheel.name == f"wgan_fast-{VERSION}-cp310-abi3-{tag}.whl"
    assert files_of(installed) == sorted([*MODULES, "wgan_fast/_C.abi3.so"])
    report = report_of(installed)
    assert all(report[name] == "native" for name in REGISTRY)


def test_the_binary_needs_no_symbol_of_pythons_or_torchs_unstable_abi(compiled):
    """What it asks of libtorch are C functions: no C++ symbol of at, c10 or torch, no Py*."""
    if shutil.which("nm") is None:
        pytest.skip("the symbols of the binary: there is no nm")
    binary = compiled[1] / "wgan_fast" / "_C.abi3.so"
    listing = subprocess.run(
        ["nm", "-D", "--undefined-only", "--demangle", binary],
        check=True,
        capture_output=True,
        text=True,
    )
    names = [line.split(maxsplit=1)[1] for line in listing.stdout.splitlines()]
    foreign = [name for name in names if name.startswith(("at::", "c10::", "torch::", "caffe2::"))]
    assert not foreign
    assert any(name.startswith("aoti_torch_") for name in names)


def test_metadata(pure):
    (metadata,) = pure[1].glob("*.dist-info/METADATA")
    text = metadata.read_text()
    for line in [
        *("Name: wgan_fast", "Requires-Python: >=3.10"),
        *("Requires-Dist: torch>=2.11", "Requires-Dist: typing_extensions"),
    ]:
        assert line in text
    assert list(pure[1].glob("*.dist-info/licenses/LICENSE"))


def test_the_source_distribution_can_be_built_from(tmp_path):
    """It has every file of csrc, headers included, whatever was built before."""
    (tmp_path / "sources").mkdir()
    sources = copy_of_the_sources(tmp_path / "sources")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist"],
        cwd=sources,
        env=environment(WGAN_FAST_BUILD="none"),
        check=True,
        capture_output=True,
    )
    (archive,) = (sources / "dist").iterdir()
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {str(p.relative_to(sources)) for p in (sources / "csrc").rglob("*.*") if p.is_file()}
    assert wanted <= names
    assert set(MODULES) <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith("tests")]  # setuptools' choice of them
