"""Inception score, KID and FID of images by torchmetrics, where it and its weights are installed.

The network is Inception v3 as torch-fidelity has it, with the weights that these scores are quoted
for. Scores in papers are those of 50000 samples; with fewer, FID is larger and the score lower.
The tests take a stand-in for the package: with the weights, which are a download, none has run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .run import RunError

LEAST_IMAGES = 20  # two in each of the score's ten parts
BATCH_SIZE = 50
INSTALL = "pip install torchmetrics torch-fidelity"


class InceptionMetrics:
    """Measures generated images in [-1, 1], [n, 1 or 3, s, s], beside real ones.

    Random subsets are the same each time, and random numbers drawn elsewhere are not disturbed.

    Raises:
        RunError: if a package or the weights are missing; the message says which, and what to do.
    """

    def __init__(self, real: Tensor):
        with readable_errors():
            from torchmetrics.image.fid import (  # pyright: ignore[reportMissingImports]
                FrechetInceptionDistance,
            )
            from torchmetrics.image.inception import (  # pyright: ignore[reportMissingImports]
                InceptionScore,
            )
            from torchmetrics.image.kid import (  # pyright: ignore[reportMissingImports]
                KernelInceptionDistance,
            )

            # The other processes do not measure: there is nothing to gather from them.
            options: dict[str, Any] = {"sync_on_compute": False}
            self.score = InceptionScore(splits=10, **options).to(real.device)
            options["reset_real_features"] = False
            self.fid = FrechetInceptionDistance(**options).to(real.device)
            subset_size = min(1000, len(real) // 2)
            self.kid = KernelInceptionDistance(subset_size=subset_size, **options).to(real.device)
        for part in as_bytes(real).split(BATCH_SIZE):
            self.fid.update(part, real=True)
            self.kid.update(part, real=True)

    def __call__(self, fake: Tensor) -> dict[str, float]:
        for metric in (self.score, self.fid, self.kid):
            metric.reset()  # of the images of an earlier checkpoint; real ones stay
        for part in as_bytes(fake).split(BATCH_SIZE):
            self.score.update(part)
            self.fid.update(part, real=False)
            self.kid.update(part, real=False)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            score, score_deviation = self.score.compute()
            kid, kid_deviation = self.kid.compute()
            fid = self.fid.compute()
        return {
            "inception score": float(score),
            "score deviation": float(score_deviation),
            "KID": float(kid),
            "KID deviation": float(kid_deviation),
            "FID": float(fid),
        }


def as_bytes(images: Tensor) -> Tensor:
    """From [-1, 1] to 0 to 255; grey images as colours."""
    pixels = (images * 127.5 + 127.5).round().clamp(0, 255).byte()
    return pixels.expand(-1, 3, -1, -1)


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RunError(
            f"--metrics needs torchmetrics and torch-fidelity, which cannot be imported ({error});"
            f" type {INSTALL}"
        ) from None
    except (OSError, RuntimeError) as error:  # no network, or a file that broke off
        raise RunError(
            "--metrics needs the weights of Inception v3, which torch-fidelity cannot get"
            f" ({error}); it fetches them once into {torch.hub.get_dir()}/checkpoints, where a copy"
            " from another machine serves as well"
        ) from None
