"""Checks what ``make wheel`` has built: names, sizes, contents; and that the wheel works.

    python -m tools.wheels dist                          # what is there
    python -m tools.wheels dist --torch 2.11.0 2.15.0    # installed beside these, and tested

For each release of torch a virtual environment is made below ``build`` and removed afterwards: on
Linux they are CUDA builds of 5 GB. The wheel is installed without a compiler in reach, and the
tests of the operators run from a folder in which there is no source of the package.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from tools.torch_versions import FOLDER, make_environment

ROOT = Path(__file__).parents[1]
#: Bytes; a wheel that grows beyond it has something in it that does not belong there.
LARGEST = 5_000_000


def described(folder: Path) -> list[Path]:
    """Prints what is in the folder, and returns the wheels: with kernels, and without.

    Raises:
        SystemExit: if one is missing, too large, not portable, or has libtorch in it.
    """
    files = sorted(folder.iterdir())
    for file in files:
        print(f"{file.name}  {file.stat().st_size / 1e6:.2f} MB")
    kernels = [file for file in files if "-cp310-abi3-manylinux" in file.name]
    pure = [file for file in files if file.name.endswith("-py3-none-any.whl")]
    sources = [file for file in files if file.name.endswith(".tar.gz")]
    if not len(kernels) == len(pure) == len(sources) == 1:
        raise SystemExit(
            f"{folder} must hold one wheel for manylinux, one for any platform and one sdist"
        )
    for wheel in (*kernels, *pure):
        names = zipfile.ZipFile(wheel).namelist()
        libraries = [name for name in names if ".so" in name]
        if wheel.stat().st_size > LARGEST:
            raise SystemExit(f"{wheel.name} is larger than {LARGEST / 1e6:.0f} MB")
        if libraries != (["wgan_fast/_C.abi3.so"] if wheel in kernels else []):
            raise SystemExit(f"{wheel.name} has other libraries in it than it should: {libraries}")
    return [*kernels, *pure]


def tested(wheel: Path, python: Path) -> str:
    """Installs the wheel, without a compiler, and runs the tests of the operators with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        environment = {key: os.environ[key] for key in ("HOME",) if key in os.environ}
        environment |= {"PATH": str(folder / "bin"), "OMP_NUM_THREADS": "1"}
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
        subprocess.run([*install, wheel.absolute()], env=environment, check=True)
        for needed in ("tests", "simt", "csrc"):  # the simulated GPU is one of the backends
            shutil.copytree(ROOT / needed, folder / needed)
        shutil.copy(ROOT / "pyproject.toml", folder)
        environment["PATH"] = os.environ["PATH"]  # some tests compile
        report = [python, "-m", "wgan_fast"]
        subprocess.run(report, cwd=folder, env=environment, check=True)
        run = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops"],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if run.returncode != 0:
            raise SystemExit(f"{wheel.name}: the tests fail\n{run.stdout[-3000:]}{run.stderr}")
        return run.stdout.splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the wheels are")
    parser.add_argument("--torch", nargs="+", default=[], help="releases to install it beside")
    parser.add_argument("--python", type=Path, help="instead: a Python that has torch already")
    options = parser.parse_args()
    kernels, _ = described(options.folder)
    if options.python is not None:
        print(tested(kernels, options.python.absolute()))
    for version in options.torch:
        python = make_environment(version)
        try:
            print(f"torch {version}: {tested(kernels, python)}", flush=True)
        finally:
            shutil.rmtree(FOLDER / version)


if __name__ == "__main__":
    main()
