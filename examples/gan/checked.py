"""What train.py measures of generated samples at its checkpoints: quality.csv."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from . import processes
from .data import POINT_SETS, FolderSamples, TensorSamples
from .inception_metrics import LEAST_IMAGES, InceptionMetrics
from .quality import classified_digits, quality
from .run import Run, RunError
from .study import read_rows, write_rows

N_DIGITS = 1000  # real and generated ones: quick to compare
#: From generated samples to their numbers by name.
Measure = Callable[[Tensor], dict[str, float]]


class QualityTable:
    """One row for each checkpoint, of as many generated samples as ``n`` says."""

    def __init__(self, measure: Measure, n: int, path: Path, until_step: int):
        """Rows of an earlier part of the run are taken over, up to the step of its checkpoint."""
        self.measure, self.n, self.path = measure, n, path
        earlier = read_rows(path) if until_step and path.is_file() else []
        self.rows = [row for row in earlier if row["step"] <= until_step]

    def add(self, run: Run, writer: Any) -> None:
        """Measure, say and write what the run generates at this step."""
        if self.rows and self.rows[-1]["step"] == run.step:  # it is resumed at its end
            return
        measured = self.measure(run.generate(self.n))
        self.rows.append({"step": run.step} | measured)
        write_rows(self.rows, self.path)
        tqdm.write(f"step {run.step}: {in_words(measured)}")
        if writer is not None:
            for name, value in measured.items():
                writer.add_scalar(name, value, run.step)


def in_words(measured: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in measured.items())


def quality_table(
    run: Run, given: dict[str, Any], samples: TensorSamples | FolderSamples, path: Path
) -> QualityTable | None:
    """The table of this run, where there is something to measure and this process is to do it."""
    data = run.settings.data
    if "metrics" in given and data in POINT_SETS:
        raise RunError(f"--metrics is for images, but --data is {data}")
    if "metrics" in given and len(samples) < LEAST_IMAGES:
        raise RunError(
            f"--metrics needs {LEAST_IMAGES} images at least, but there are {len(samples)} in"
            f" {data}; add some or leave --metrics out"
        )
    if not processes.is_first():
        return None
    if "metrics" in given:
        real = some_of(samples, given["metrics"]).to(run.device)
        return QualityTable(InceptionMetrics(real), len(real), path, run.step)
    if data == "digits" and "quick" not in given:
        real = some_of(samples, N_DIGITS)
        return QualityTable(digit_quality(real), len(real), path, run.step)
    return None


def some_of(samples: TensorSamples | FolderSamples, n: int) -> Tensor:
    """At most n of the samples, the same ones in every run."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(1))
    return samples.__getitems__(order[:n].tolist())


def digit_quality(real: Tensor) -> Measure:
    """The distance is that to digits that were trained on, for a run trains on all of them.

    The classifier has learned two thirds of all, for its accuracy on the others to be known.
    """

    def measure(samples: Tensor) -> dict[str, float]:
        known = classified_digits(real.shape[-1], seed=0)
        measured = quality(samples.cpu(), real, known.classifier)
        return measured | {"classifier's accuracy": known.accuracy}

    return measure
