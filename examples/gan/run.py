"""A training run: its settings, everything that changes while it trains, and both on disk."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wgan_fast import fast_gradient_penalty

from . import processes
from .methods import LOSSES, METHODS
from .models import LATENT, networks

METRICS = ("critic_loss", "wasserstein", "penalty", "gradient_norm", "generator_loss")


class RunError(Exception):
    """A run cannot be started or continued; the message says why and what to do."""


@dataclass
class Settings:
    """What decides the course of a run; kept in its checkpoint."""

    data: str
    root: str = "data"
    size: int = 16
    channels: int = 1
    width: int = 64
    steps: int = 20_000
    batch_size: int = 64
    n_critic: int = 5
    learning_rate: float = 1e-4
    lambda_gp: float = 10.0
    ema: float = 0.99
    seed: int = 0
    method: str = "wgan-gp"  # missing in checkpoints from before there were others
    loss: str = ""  # one of LOSSES; empty, as in such checkpoints: the method's own


class Run:
    """The networks, their optimisers and the step, ready to train or to continue."""

    def __init__(
        self,
        settings: Settings,
        shape: Sequence[int],
        device: torch.device,
        *,
        sharded: bool = False,
    ):
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        method = METHODS[settings.method]
        self.method = method = method.with_loss(settings.loss or method.loss)
        self.critic, self.generator = (network.to(device) for network in self.new_networks(shape))
        if sharded:
            self.critic = processes.sharded(self.critic)
        self.critic_optimizer, self.generator_optimizer = (
            method.optimizer(network.parameters(), settings.learning_rate)
            for network in (self.critic, self.generator)
        )
        # Samples are drawn from the average of the generators of the last 1 / (1 - ema) steps.
        self.averaged_generator = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
        ).eval()
        # As they are called in training; FSDP averages gradients itself.
        self.trained_critic = self.critic if sharded else processes.replicated(self.critic)
        self.trained_generator = processes.replicated(self.generator)

    def new_networks(self, shape: Sequence[int]) -> tuple[nn.Module, nn.Module]:
        """The critic and the generator."""
        return networks(shape, self.settings.width, self.method.dropout, self.method.normalised)

    def noise(self, n: int) -> Tensor:
        """z ~ p(z), [n, LATENT]; drawn on the CPU, so that every device gets the same numbers."""
        return torch.randn(n, LATENT).to(self.device)

    @torch.no_grad()
    def generate(self, n: int, seed: int = 0) -> Tensor:
        """n samples of the averaged generator, by a seed of their own: training notices nothing."""
        noise = torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))
        return torch.cat([self.averaged_generator(z.to(self.device)) for z in noise.split(64)])

    def gradient_norms(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's gradient norm at interpolates of the two, [B], by a seed of their own."""
        with watching(self.critic) as critic:
            _, norms = fast_gradient_penalty(
                critic,
                real,
                fake,
                generator=torch.Generator().manual_seed(self.step),
                chunk_size=self.settings.batch_size,
                return_norms=True,
            )
        return norms

    def _parts(self) -> dict[str, Any]:
        return {
            "critic": self.critic,
            "generator": self.generator,
            "averaged_generator": self.averaged_generator,
            "critic_optimizer": self.critic_optimizer,
            "generator_optimizer": self.generator_optimizer,
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint: settings, step, networks, optimisers and random numbers."""
        state = processes.gathered({n: part.state_dict() for n, part in self._parts().items()})
        state |= {
            "settings": asdict(self.settings),
            "step": self.step,
            "rng": torch.get_rng_state(),
        }
        if self.device.type == "cuda":  # dropout, and the noise of some methods, are drawn there
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where the run of this checkpoint stood."""
        for name, part in self._parts().items():
            part.load_state_dict(processes.scattered(state[name], part))
        self.step = state["step"]
        torch.set_rng_state(state["rng"].cpu())
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)


@contextmanager
def watching(critic: nn.Module) -> Iterator[nn.Module]:
    """The critic to look at while it trains: nothing is dropped, and there is no graph."""
    critic.eval()
    try:
        with torch.no_grad():
            yield critic
    finally:
        critic.train()


def read_checkpoint(path: Path, device: torch.device) -> tuple[Settings, dict[str, Any]]:
    """The settings and the state of a checkpoint, given by its file or by the folder of its run."""
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise RunError(f"no checkpoint to resume from at {file}")
    try:
        state = torch.load(file, map_location=device, weights_only=True)
        settings = Settings(**state["settings"])
    except Exception as error:  # torch.load raises many kinds for a file that is something else
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{file} is not a checkpoint of this script ({reason})") from None
    if settings.method not in METHODS:
        raise RunError(f"{file} was trained by {settings.method}, which is none of the methods")
    settings.loss = settings.loss or METHODS[settings.method].loss
    if settings.loss not in LOSSES:
        raise RunError(f"{file} was trained with {settings.loss}, which is none of the losses")
    return settings, state


class Metrics:
    """One row for each generator step, kept in memory and written as metrics.csv."""

    header = ("step", "seconds", *METRICS)

    def __init__(self, path: Path, until_step: int):
        """Rows of an earlier part of the run are taken over, up to the step of its checkpoint."""
        self.path = path
        self.rows: list[tuple[float, ...]] = []
        if until_step and path.is_file():
            with path.open(newline="") as file:
                rows = [tuple(map(float, row)) for row in list(csv.reader(file))[1:]]
            self.rows = [(int(row[0]), *row[1:]) for row in rows if row[0] <= until_step]
        self.began = time.monotonic() - (self.rows[-1][1] if self.rows else 0.0)

    def add(self, step: int, values: Sequence[float]) -> None:
        self.rows.append((step, round(time.monotonic() - self.began, 3), *values))

    def column(self, name: str) -> list[float]:
        return [row[self.header.index(name)] for row in self.rows]

    def write(self) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.header)
            writer.writerows(self.rows)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to in the place of ``path``, which it replaces whole at the end.

    Whatever interrupts the writing, ``path`` holds the old content or the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
