"""The command line of train.py: options, their defaults for each data set, and what they may be."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from .data import IMAGE_SETS, POINT_SETS
from .inception_metrics import LEAST_IMAGES
from .methods import LOSSES, METHODS
from .run import RunError, Settings

# What differs from the defaults of Settings.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"size": 16, "channels": 1, "width": 32, "steps": 2000, "ema": 0.998},
    "mnist": {"size": 32, "channels": 1},
    "cifar10": {"size": 32, "channels": 3},
    "folder": {"size": 64, "channels": 3},
} | {
    name: {"size": 1, "channels": 2, "width": 128, "steps": 3000, "batch_size": 256}
    for name in POINT_SETS
}
QUICK_STEPS = 20
EXECUTORS = ("replay", "inductor", "cuda_graph", "auto")  # of wgan_fast.captured
# For the point sets the authors of WGAN-GP lower the weight of their penalty from 10 to 0.1; the
# other penalties are lowered as much.
POINT_WEIGHTS = 0.01


class WholeWords(argparse.HelpFormatter):
    """Help that does not break a line within a name such as max-gp."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a WGAN-GP, or a GAN by another method, with wgan_fast. Samples, curves,"
        " metrics and a checkpoint go to OUT/NAME; Ctrl-C stops after the current step and leaves"
        " all of them in order.",
        formatter_class=WholeWords,
        argument_default=argparse.SUPPRESS,  # what is not given is not there: see settings_of
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=data_name,
        metavar="SET",
        help="digits (scikit-learn's, the default), mnist or cifar10 (the files of torchvision),"
        " gaussians8, gaussians25 or swissroll (points in the plane), or folder:PATH (all images"
        " under PATH)",
    )
    data.add_argument(
        "--root", type=absolute, help="where the files of mnist and cifar10 are (data)"
    )
    data.add_argument(
        "--size",
        type=image_size,
        help="height and width of the images, a power of two from 8 on; the networks become deeper"
        " with it (digits 16, mnist and cifar10 32, folder 64)",
    )
    data.add_argument(
        "--channels", type=int, choices=(1, 3), help="of a folder: 1 for grey, 3 for colour (3)"
    )
    data.add_argument(
        "--workers", type=natural, default=0, help="processes that read images of a folder (0)"
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--method",
        choices=METHODS,
        metavar="METHOD",
        help=f"wgan-gp (the default), {', '.join(list(METHODS)[1:])}: see gan/methods.py",
    )
    training.add_argument(
        "--loss",
        choices=LOSSES,
        metavar="LOSS",
        help=f"of the scores: {', '.join(LOSSES)} (the method's)",
    )
    training.add_argument(
        "--steps",
        type=positive,
        help="generator steps in all (digits 2000, points 3000, else 20000)",
    )
    training.add_argument("--batch-size", type=positive, help="samples in a batch (64, points 256)")
    training.add_argument(
        "--width", type=positive, help="features of the first layer (64, digits 32, points 128)"
    )
    training.add_argument(
        "--n-critic", type=positive, help="critic steps per generator step (the method's: 5 or 1)"
    )
    training.add_argument(
        "--lambda-gp",
        type=not_negative,
        help="penalty weight (the method's, for wgan-gp 10; points a hundredth of it)",
    )
    training.add_argument(
        "--learning-rate",
        type=not_negative,
        help="of Adam (1e-4, r3gan 2e-4); of RMSprop for wgan (5e-5)",
    )
    training.add_argument(
        "--ema", type=fraction, help="decay of the generator's average (0.99, digits 0.998)"
    )
    training.add_argument("--seed", type=natural, help="of weights, noise and data order (0)")
    training.add_argument(
        "--device", type=usable_device, help="cpu, cuda, ... (cuda if there is one)"
    )
    training.add_argument(
        "--fsdp",
        action="store_true",
        help="under torchrun: shard the critic, by fully_shard; else each process has all of it, by"
        " DistributedDataParallel",
    )
    training.add_argument(
        "--captured",
        nargs="?",
        const="replay",
        choices=EXECUTORS,
        metavar="EXECUTOR",
        help="losses and their gradients as one graph each, run by replay (the default), inductor,"
        " cuda_graph, or auto, the fastest of these: see docs/captured.md",
    )
    training.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STEPS} steps, to try it out"
    )
    where = parser.add_argument_group("where it goes")
    where.add_argument("--out", type=Path, default=Path("runs"), help="folder of all runs (runs)")
    target = where.add_mutually_exclusive_group()
    target.add_argument(
        "--name",
        type=run_name,
        help="folder of this run (the data set's name, the method's unless it is wgan-gp, and the"
        " loss unless it is the method's); never overwritten: if it is taken, a number is added",
    )
    target.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="continue the run in this folder, with its settings; --steps may raise its end, which"
        " instance noise fades towards",
    )
    where.add_argument(
        "--metrics",
        nargs="?",
        const=1000,
        type=enough_images,
        metavar="N",
        help="at checkpoints, inception score, KID and FID of N generated images (1000), by"
        " torchmetrics and torch-fidelity; digits have a score and a distance of their own without"
        " them",
    )
    where.add_argument(
        "--save-every", type=positive, default=1000, help="steps between checkpoints (1000)"
    )
    return parser


def settings_of(given: dict[str, Any]) -> Settings:
    """The settings of a new run: what was given, else what suits data and method."""
    data, name = given.get("data", "digits"), given.get("method", Settings.method)
    kind, method = data.partition(":")[0], METHODS[name]
    if data in POINT_SETS and ("size" in given or "channels" in given):
        raise RunError(f"--size and --channels are for images, but --data is {data}")
    if data in IMAGE_SETS and "channels" in given:
        raise RunError(f"--channels is for folders, but --data is {data}")
    if not method.weight and "lambda_gp" in given:
        raise RunError(f"--lambda-gp is for methods with a penalty, but --method is {name}")
    loss = given.get("loss", method.loss)
    try:
        method.with_loss(loss)
    except ValueError as error:
        raise RunError(f"--loss {loss} does not fit --method {name}: {error}") from None
    chosen: dict[str, Any] = {"data": data, "root": absolute("data"), "method": name, "loss": loss}
    chosen |= {"n_critic": method.n_critic, "learning_rate": method.learning_rate}
    chosen |= {"lambda_gp": method.weight * (POINT_WEIGHTS if data in POINT_SETS else 1)}
    chosen |= PRESETS[kind]
    chosen |= {"steps": QUICK_STEPS} if "quick" in given else {}
    chosen |= {f.name: given[f.name] for f in fields(Settings) if f.name in given}
    return Settings(**chosen)


def default_name(settings: Settings) -> str:
    """The folder of a run that was given no name."""
    parts = [settings.data.partition(":")[0]]
    if settings.method != Settings.method:
        parts.append(settings.method)
    if settings.loss != METHODS[settings.method].loss:
        parts.append(settings.loss)
    return "-".join(parts)


def changed_settings(saved: Settings, given: dict[str, Any]) -> list[str]:
    """The options that contradict the run to be resumed."""
    return [
        f"--{field.name.replace('_', '-')} {given[field.name]} (it began with {value})"
        for field in fields(saved)
        if field.name not in ("steps", "root")
        and field.name in given
        and given[field.name] != (value := getattr(saved, field.name))
    ]


def checked(convert: Callable[[str], Any], accept: Callable[[Any], bool], must: str) -> Any:
    """An argparse type: the text converted, or the error that it must be what ``must`` says."""

    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not accept(value):
            raise argparse.ArgumentTypeError(f"must be {must}, but it is {text}")
        return value

    return parse


enough_images = checked(int, lambda n: n >= LEAST_IMAGES, f"a whole number from {LEAST_IMAGES} on")
positive = checked(int, lambda n: n >= 1, "a whole number from 1 on")
natural = checked(int, lambda n: 0 <= n < 2**31, "a whole number from 0 to 2147483647")
not_negative = checked(float, lambda x: 0 <= x < math.inf, "a number from 0 on")
fraction = checked(float, lambda x: 0 <= x < 1, "a number from 0 to below 1")
image_size = checked(
    int, lambda n: n >= 8 and n & (n - 1) == 0, "a power of two from 8 on (8, 16, 32, ...)"
)
run_name = checked(
    str, lambda name: name == Path(name).name and name not in ("", ".."), "the name of a folder"
)


def absolute(text: str) -> str:
    """The path as a run can find it again from another folder."""
    return str(Path(text).expanduser().resolve())


def data_name(text: str) -> str:
    kind, _, folder = text.partition(":")
    if kind == "folder" and folder:
        return f"folder:{absolute(folder)}"
    if text not in IMAGE_SETS + POINT_SETS:
        known = ", ".join(IMAGE_SETS + POINT_SETS)
        raise argparse.ArgumentTypeError(f"must be {known} or folder:PATH, but it is {text}")
    return text


def usable_device(text: str) -> torch.device:
    try:
        device = torch.device(text)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"{text} cannot be used here: {reason}") from None
    return device
