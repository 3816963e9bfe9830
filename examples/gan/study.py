"""What every study shares: its command line, its sizes, its workers, and what it leaves behind.

A study is a script of this folder's parent that measures something in several settings, writes what
it measured to NAME.csv, draws that as NAME.png, and says in words what it shows. The words are made
from the rows of the table alone, by the script's function ``summary``.
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from .data import TensorSamples, batches
from .pictures import save
from .run import Run, replacing

#: One row of a study's table: numbers and words by their columns.
Row = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Study:
    """One run of a study, from its command line.

    Args:
        script: the file of the script; its name is that of the study.
        description: the first line of its help.
        arguments: the command line, by default the process's.

    Attributes:
        size: "quick" to try it out in seconds, "reduced" for a look, "full" for what is quoted.
    """

    def __init__(self, script: str, description: str | None, arguments: Sequence[str] | None):
        self.name = Path(script).stem
        parser = argparse.ArgumentParser(
            prog=f"{self.name}.py", description=(description or "").strip().partition("\n")[0]
        )
        sizes = parser.add_mutually_exclusive_group()
        sizes.add_argument("--full", action="store_true", help="the size that the README quotes")
        sizes.add_argument("--quick", action="store_true", help="a few steps, to try it out")
        parser.add_argument(
            "--out", type=Path, default=Path("runs", "studies"), help="folder (runs/studies)"
        )
        options = parser.parse_args(arguments)
        self.size = "full" if options.full else "quick" if options.quick else "reduced"
        self.out: Path = options.out
        self.out.mkdir(parents=True, exist_ok=True)

    def pick(self, *, quick: Item, reduced: Item, full: Item) -> Item:
        """What belongs to the size of this run."""
        return {"quick": quick, "reduced": reduced, "full": full}[self.size]

    def run(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``work(item)`` for all items, in their order, one process for each core.

        The networks are so small that a second thread for one of them would mostly wait. ``work``
        and the items go to the processes by pickle: a function of a module, and plain values.
        """
        items = list(items)
        shown = {"total": len(items), "desc": self.name, "unit": "run"}
        if self.size == "quick":  # done sooner than a process has started
            return [work(item) for item in tqdm(items, **shown)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), context, one_thread) as pool:
            return list(tqdm(pool.map(work, items), **shown))

    def leave(self, rows: Sequence[Row], figure: Figure, summary: str) -> None:
        """Writes the table and the picture, and says what they show."""
        write_rows(rows, self.out / f"{self.name}.csv")
        save(figure, self.out / f"{self.name}.png")
        print(f"{summary}\nwrote {self.name}.csv and {self.name}.png to {self.out}")


def one_thread() -> None:
    torch.set_num_threads(1)


class Unwatched(Run):
    """A run without the gradient norm that train.py records: the clock is for training alone."""

    def gradient_norms(self, real: Tensor, fake: Tensor) -> Tensor:
        return real.new_zeros(1)


def training_batches(run: Run, samples: Tensor) -> Iterator[Tensor]:
    """The samples as a run takes them from its beginning, in the order of its seed."""
    return batches(
        TensorSamples(samples),
        batch_size=run.settings.batch_size,
        seed=run.settings.seed,
        batches_used=0,
        device=run.device,
    )


def checkpoints(run: Run, steps: Iterable[Any], n: int) -> Iterator[float]:
    """The seconds of training up to each of n checkpoints, and at the end of the run.

    They are the processor's: with one thread the wall time on a core of its own, whatever else the
    machine does. What is done between two checkpoints by who asks for them is not counted.
    """
    every = max(1, run.settings.steps // n)
    seconds, began = 0.0, time.process_time()
    for _ in steps:
        if run.step % every == 0 or run.step == run.settings.steps:
            seconds += time.process_time() - began
            yield seconds
            began = time.process_time()


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """The rows as CSV; numbers with six digits, which is more than they are good for."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            short = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(short)


def read_rows(path: Path) -> list[Row]:
    """The rows of such a file; what looks like a number is one."""
    with path.open(newline="") as file:
        return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def listed(words: Sequence[str]) -> str:
    """As in a sentence: a, b and c."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def seeds_in_words(rows: Sequence[Row]) -> str:
    """What a number stands for that is the median over the seeds of a table."""
    n = len({row["seed"] for row in rows})
    return "one seed" if n == 1 else f"median of {n} seeds"


def from_to(low: str, high: str) -> str:
    """The ends of a range, and once where both read alike."""
    return low if low == high else f"{low} to {high}"


def plus_minus(value: float, error: float) -> str:
    """The value and its error, with two digits of the error."""
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
