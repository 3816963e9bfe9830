"""Train a WGAN-GP with wgan_fast: on digits by default, on your own images with --data folder:PATH.

    python examples/train.py                                    # two to three minutes on 2 cores
    python examples/train.py --data folder:~/pictures --size 64
    python examples/train.py --data swissroll
    python examples/train.py --method r3gan                     # one of gan/methods.py
    python examples/train.py --method r1 --loss hinge           # with another loss of the scores
    python examples/train.py --captured                         # the same run, each loss one graph
    python examples/train.py --data folder:~/pictures --metrics  # score, KID, FID: torchmetrics
    python examples/train.py --resume runs/digits --steps 6000
    torchrun --nproc-per-node 2 examples/train.py               # several processes; --fsdp

Algorithm 1 of the paper is the function ``train``. All options: python examples/train.py --help
Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028.
"""

# pyright: reportPossiblyUnboundVariable=false
# (n_critic is at least 1, so that the critic's loop leaves its variables behind)

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gan import processes
from gan.checked import QualityTable, quality_table
from gan.compare import compare
from gan.data import DataError, batches, load
from gan.methods import critic_step, with_instance_noise
from gan.options import build_parser, changed_settings, default_name, settings_of
from gan.pictures import N_SHOWN, draw
from gan.run import METRICS, Metrics, Run, RunError, Settings, read_checkpoint
from torch import Tensor
from tqdm import tqdm


def train(run: Run, real_batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Algorithm 1 of WGAN-GP, with the run's method; after each generator step, its METRICS."""
    critic, generator, method = run.trained_critic, run.trained_generator, run.method
    batch_size, weight = run.settings.batch_size, run.settings.lambda_gp
    mine, first_sample = processes.mine, processes.rank() * batch_size // processes.count()

    while run.step < run.settings.steps:
        passed = run.step / run.settings.steps
        for _ in range(run.settings.n_critic):
            real = mine(with_instance_noise(next(real_batches), method, passed))
            with torch.no_grad():
                fake = with_instance_noise(generator(mine(run.noise(batch_size))), method, passed)
            critic_loss, penalty, real_scores, fake_scores = critic_step(
                critic,
                run.critic_optimizer,
                method,
                real,
                fake,
                weight=weight,
                first_sample=first_sample,
            )

        fake = with_instance_noise(generator(mine(run.noise(batch_size))), method, passed)
        generator_loss = method.generator_loss(critic, real, fake)
        run.generator_optimizer.zero_grad()
        generator_loss.backward()
        run.generator_optimizer.step()
        run.averaged_generator.update_parameters(generator)

        run.step += 1
        wasserstein = real_scores.mean() - fake_scores.mean()
        gradient_norm = run.gradient_norms(real, fake).mean()
        metrics = critic_loss, wasserstein, penalty, gradient_norm, generator_loss
        yield processes.mean(torch.stack([metric.detach() for metric in metrics]))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 2 for what the user can mend and 130 after Ctrl-C."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    device = given.get("device") or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with processes.joined(device) as device:
            return start(given, device)
    except (DataError, RunError) as error:
        # A worker process of the DataLoader sends its error on with a traceback in front.
        reason = str(error).strip().rpartition("DataError: ")[2]
        print(f"train.py: error: {reason}", file=sys.stderr)
        return 2


def start(given: dict[str, Any], device: torch.device) -> int:
    """Begin or resume the run that was asked for, train, and leave everything on disk."""
    settings, state, folder = new_or_resumed(given, device)
    if "fsdp" in given and not dist.is_initialized():
        raise RunError("--fsdp is for several processes: start them with torchrun")
    if settings.batch_size % processes.count():
        raise RunError(
            f"{processes.count()} processes cannot share a batch of {settings.batch_size} equally"
        )
    if "fsdp" in given and "captured" in given:
        raise RunError("--captured is for a critic that is not sharded: leave --fsdp out")
    if given.get("captured") == "cuda_graph" and device.type != "cuda":
        raise RunError(f"--captured cuda_graph is for a GPU, not for {device}; take replay or auto")
    with processes.written_once(folder) as folder:
        return train_and_leave(given, device, settings, state, folder)


def train_and_leave(
    given: dict[str, Any],
    device: torch.device,
    settings: Settings,
    state: dict[str, Any] | None,
    folder: Path,
) -> int:
    """Train a new run, or from the state of one, and leave everything in the folder."""
    samples = load(settings.data, settings.size, settings.channels, settings.root)
    run = Run(settings, samples.shape, device, sharded="fsdp" in given)
    if "captured" in given:
        run.method = run.method.with_captured_losses(given["captured"])
    if state:
        run.restore(state)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror}") from None
    metrics = Metrics(folder / "metrics.csv", run.step)
    quality = quality_table(run, given, samples, folder / "quality.csv")
    count = f"{len(samples)} {'images' if len(samples.shape) == 3 else 'points'}"
    what = f"{run.method.title} on {settings.data}: {count} of shape {list(samples.shape)}"
    print(f"{what}, on {device}, into {folder}")

    real_batches = batches(
        samples,
        batch_size=settings.batch_size,
        seed=settings.seed,
        batches_used=run.step * settings.n_critic,
        device=device,
        workers=given["workers"],
    )
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:N_SHOWN]
    shown = samples.__getitems__(chosen.tolist()).to(device)
    with interruptible() as interrupted, events(folder, run.step) as writer:
        for _ in progress(run, train(run, real_batches), metrics, writer):
            if processes.any_of(interrupted.is_set()):
                break
            if run.step % given["save_every"] == 0 and run.step < settings.steps:
                leave(run, metrics, shown, folder, quality, writer)
        leave(run, metrics, shown, folder, quality, writer)
    tables = "metrics.csv, quality.csv" if quality else "metrics.csv"
    print(f"wrote samples.png, curves.png, summary.png, {tables} and checkpoint.pt")
    if run.step < settings.steps:
        print(f"stopped at step {run.step}; continue with --resume {folder}")
        return 130
    # The comparison is about the penalty of this one, and about one process.
    if settings.method == "wgan-gp" and processes.count() == 1:
        real = shown[: settings.batch_size]
        rounds = 3 if "quick" in given else 50
        print(compare(run.critic, real, run.generate(len(real)), settings.lambda_gp, rounds))
    return 0


def new_or_resumed(
    given: dict[str, Any], device: torch.device
) -> tuple[Settings, dict[str, Any] | None, Path]:
    """The settings, the state to continue from (None for a new run), and the folder of the run."""
    if "resume" not in given:
        settings = settings_of(given)
        name = given.get("name", default_name(settings))
        return settings, None, unused_folder(given["out"] / name)
    settings, state = read_checkpoint(given["resume"], device)
    if changed := changed_settings(settings, given):
        raise RunError(f"a run keeps its settings when it is resumed: {', '.join(changed)}")
    settings.steps = given.get("steps", settings.steps)
    settings.root = given.get("root", settings.root)
    if settings.steps < state["step"]:
        raise RunError(f"the run is at step {state['step']} already; give --steps a later one")
    path = given["resume"]
    return settings, state, path if path.is_dir() else path.parent


def unused_folder(folder: Path) -> Path:
    """The folder, or with a number after its name where there is a run already."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def progress(run: Run, steps: Iterator[Tensor], metrics: Metrics, writer: Any) -> Iterator[None]:
    """Run through the steps, showing and recording their metrics."""
    bar = tqdm(
        steps,
        total=run.settings.steps,
        initial=run.step,
        unit="step",
        smoothing=0.05,
        disable=not processes.is_first(),
    )
    for values in bar:
        row = dict(zip(METRICS, values.tolist(), strict=True))
        if not all(map(math.isfinite, row.values())):
            raise RunError(
                f"the losses of step {run.step} are not finite: {row}; the last checkpoint is kept,"
                " try a smaller --learning-rate"
            )
        metrics.add(run.step, list(row.values()))
        bar.set_postfix_str(
            f"critic loss {row['critic_loss']:.3f}, penalty {row['penalty']:.3f},"
            f" gradient norm {row['gradient_norm']:.3f}",
            refresh=False,
        )
        if writer is not None:
            for name, value in row.items():
                writer.add_scalar(name, value, run.step)
        yield


def leave(
    run: Run,
    metrics: Metrics,
    shown: Tensor,
    folder: Path,
    quality: QualityTable | None,
    writer: Any,
) -> None:
    """Write everything that a run leaves on disk, the checkpoint first."""
    run.save(folder / "checkpoint.pt")
    metrics.write()
    draw(run, metrics, shown, folder)
    if quality is not None:
        quality.add(run, writer)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that no step is left half done; the second stops."""
    interrupted = threading.Event()

    def note(*_: Any) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def events(folder: Path, step: int) -> Iterator[Any]:
    """A TensorBoard writer, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("tensorboard is not installed: no event files")
        yield None
        return
    with SummaryWriter(str(folder), purge_step=step + 1 if step else None) as writer:
        yield writer


if __name__ == "__main__":
    sys.exit(main())
