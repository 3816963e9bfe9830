"""On a machine with an NVIDIA GPU: builds, measures, sanitises and tests, within 9 minutes.

    python -m tools.gpu

Takes the Python that runs it, with a CUDA build of torch (2.11 or later), nvcc, pytest and
hypothesis; needs no network. What the tests want besides is left out by name where it is not
installed. Every part runs by itself, with a time limit of its own; a part that fails does not stop
the others, and the most telling come first. Everything is written to
``benchmarks/results/gpu-NAME``: what each part printed, ``parts.json`` with how each one ended, and
the measurements.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOTAL_SECONDS = 530.0
#: Packages that some tests cannot do without, and where these are.
WANTED = {"ot": "tests/examples", "mpmath": "tests/examples", "sklearn": "tests/examples"}
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")


@dataclass(frozen=True)
class Part:
    name: str
    command: tuple[str, ...]
    limit: float  # seconds
    missing: str | None = None  # a program that is not there
    without: str | None = None  # what is left out of it, and why


@dataclass(frozen=True)
class Outcome:
    name: str
    status: str
    seconds: float


def parts(folder: Path) -> list[Part]:
    """What to run, the most important first."""
    python = sys.executable
    test = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    sanitizer = shutil.which("compute-sanitizer")
    # Without PyTorch's cache every tensor is an allocation of its own, which memcheck knows.
    watcher = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", sanitizer or "")
    watched = (python, "-m", "tests.cuda.exercise")
    return [
        Part("environment", (python, "-m", "torch.utils.collect_env"), 40),
        Part("nvidia-smi", ("nvidia-smi", "-q"), 15),
        Part("build", (python, "setup.py", "build_ext", "--inplace"), 150),
        Part("installed", (python, "-m", "wgan_fast"), 30),
        Part("kernels", (python, "-m", "benchmarks.gpu_bandwidth", str(folder)), 60),
        Part("steps", (python, "-m", "benchmarks.gpu_steps", str(folder)), 100),
        *(
            Part(
                tool,
                (*watcher, "--tool", tool, "--error-exitcode", "9", *watched),
                40,
                None if sanitizer else "compute-sanitizer is not installed",
            )
            for tool in SANITIZERS
        ),
        Part("tests-cuda", (*test, "tests/cuda"), 60),
        Part("tests-ops", (*test, "tests/ops", "-k", "cuda"), 90),
        Part(
            "race",
            (
                *(python, "-m", "benchmarks.race", "--device", "cuda", "--quick"),
                *("--suite", "penalty", "step", "--json", str(folder / "race.json")),
            ),
            60,
        ),
        _all_tests(test),
    ]


def _all_tests(test: tuple[str, ...]) -> Part:
    """The whole suite, as far as it can be run with what is installed."""
    absent = [name for name in WANTED if importlib.util.find_spec(name) is None]
    ignored = dict.fromkeys(WANTED[name] for name in absent)
    command = (*test, "--maxfail=20", "--ignore=tests/simt", *(f"--ignore={x}" for x in ignored))
    without = [f"{', '.join(ignored)}: {', '.join(absent)} not installed"] if absent else []
    without.append("tests/simt: a GPU is there")
    return Part("tests-all", (*command, "tests"), 240, without="; ".join(without))


def run(part: Part, folder: Path, limit: float, environment: dict[str, str]) -> Outcome:
    """Runs a part; what it prints goes to a file, as it comes."""
    if part.missing is not None:
        return Outcome(part.name, f"skipped: {part.missing}", 0)
    begin = time.monotonic()
    with folder.joinpath(f"{part.name}.txt").open("w") as log:
        try:
            # In a group of its own: what it has started in turn goes with it.
            with subprocess.Popen(
                part.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            ) as started:
                try:
                    code = started.wait(limit)
                    status = "passed" if code == 0 else f"failed: exit code {code}"
                    status += f" (without {part.without})" if part.without else ""
                except subprocess.TimeoutExpired:
                    os.killpg(started.pid, signal.SIGKILL)
                    status = f"failed: stopped after {limit:.0f} s"
        except OSError as error:
            status = f"failed: {error}"
    return Outcome(part.name, status, round(time.monotonic() - begin, 1))


def run_all(todo: list[Part], folder: Path, environment: dict[str, str]) -> list[Outcome]:
    """Runs the parts one after the other, as long as there is time."""
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + TOTAL_SECONDS
    outcomes: list[Outcome] = []
    for part in todo:
        left = end - time.monotonic()
        if left < 5:
            outcomes.append(Outcome(part.name, "skipped: no time left", 0))
        else:
            outcomes.append(run(part, folder, min(part.limit, left), environment))
        print(f"{outcomes[-1].name:<14} {outcomes[-1].seconds:>6.1f} s  {outcomes[-1].status}")
        text = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
        folder.joinpath("parts.json").write_text(text + "\n")
    return outcomes


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        print(
            f"make gpu: torch {torch.__version__} sees no GPU. Give it a Python whose torch does: "
            "make gpu GPU_PYTHON=/path/to/python",
            file=sys.stderr,
        )
        return 1
    properties = torch.cuda.get_device_properties(0)
    name = re.sub(r"[^a-z0-9]+", "-", properties.name.lower()).strip("-")
    folder = ROOT / "benchmarks" / "results" / f"gpu-{name}"
    capability = f"{properties.major}.{properties.minor}"
    environment = {
        **os.environ,
        "WGAN_FAST_BUILD": "cuda",
        "TORCH_CUDA_ARCH_LIST": os.environ.get("TORCH_CUDA_ARCH_LIST", capability),
        "PYTHONUNBUFFERED": "1",
    }
    outcomes = run_all(parts(folder), folder, environment)
    print(f"results: {folder.relative_to(ROOT)}")
    return 1 if any(outcome.status.startswith("failed") for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
