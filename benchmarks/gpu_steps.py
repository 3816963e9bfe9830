"""Times the penalty and the whole critic step on a GPU, eagerly and as a CUDA graph.

    python -m benchmarks.gpu_steps FOLDER      writes steps.json and steps.md

What a large GPU spends on small critics is the time to launch, which a CUDA graph takes away: the
two columns tell launches from traffic and products. Forward and backward passes are timed together;
contestants take turns, and the median counts. In bfloat16, critic and samples are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import wgan_fast
from tools import pages
from wgan_fast import critic_loss, fast_gradient_penalty

from .contestants import textbook
from .contestants.critic_losses import CRITIC_LOSSES, USUAL
from .problems import critics
from .problems.problem import GAMMA, LAMBDA, Problem
from .timing import Call, interleaved

ROUNDS, WARM_UP = 20, 3
#: What runs the graphs of wgan_fast.captured, for each kind of device.
EXECUTORS = {"cpu": "replay", "cuda": "cuda_graph"}
BATCHES = (64, 256)
DTYPES = (torch.float32, torch.bfloat16)

MLP = Problem("MLP 784-512x4-1", lambda: critics.mlp(784, 512, 4, critics.leaky), (784,), 64)
DCGAN = Problem("DCGAN 64x64", critics.dcgan, (3, 64, 64), 64)
LAYER_NORM = Problem(
    "DCGAN 64x64 LayerNorm", lambda: critics.dcgan(norm=critics.layer_norm), (3, 64, 64), 64
)

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


#: What is timed: the usual code, and this library's.
LOSSES: dict[str, tuple[Loss, Loss]] = {
    "penalty": (
        lambda critic, real, fake: textbook.gradient_penalty(critic, real, fake, None, ()),
        lambda critic, real, fake: fast_gradient_penalty(critic, real, fake, lambda_gp=LAMBDA),
    ),
    "step with R1 + R2": (
        lambda critic, real, fake: CRITIC_LOSSES[USUAL]["R1+R2"](critic, real, fake, None, ()),
        lambda critic, real, fake: critic_loss(
            critic, real, fake, loss="relativistic", r1=GAMMA, r2=GAMMA
        ),
    ),
}


@dataclass(frozen=True)
class Result:
    critic: str
    what: str
    batch: int
    dtype: str
    mode: str  # "eager", "CUDA graph", or "captured", by wgan_fast.captured
    usual_ms: float
    ours_ms: float


def gradients_of(loss: Loss, critic: nn.Module, real: Tensor, fake: Tensor) -> Call:
    """One forward and backward pass."""
    parameters = list(critic.parameters())
    return lambda: torch.autograd.grad(loss(critic, real, fake), parameters, allow_unused=True)


def captured(call: Call) -> Call:
    """The same call, replayed from a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> object:
        graph.replay()
        return kept  # the memory that the graph writes to

    return replay


def milliseconds(calls: list[Call], device: str) -> list[float]:
    """The median time of each call, in turns."""
    for call in calls:
        for _ in range(WARM_UP):
            call()
    named = {str(index): call for index, call in enumerate(calls)}
    timings = interleaved(named, rounds=(5, ROUNDS), budget=1.5, least=0.0, device=device)
    return [timing.median * 1e3 for timing in timings.values()]


def measure(problem: Problem, what: str, dtype: torch.dtype) -> Iterator[Result]:
    """One problem, in every mode that its device has."""
    critic, samples = problem.critic(dtype), problem.samples(dtype)
    calls = [gradients_of(loss, critic, *samples) for loss in LOSSES[what]]
    short = str(dtype).removeprefix("torch.")
    modes: dict[str, Callable[[Call], Call]] = {"eager": lambda call: call}
    if problem.device == "cuda":
        modes["CUDA graph"] = captured
    for mode, prepared in modes.items():
        usual, ours = milliseconds([prepared(call) for call in calls], problem.device)
        yield Result(problem.name, what, problem.batch, short, mode, usual, ours)
    executor = EXECUTORS[problem.device]
    graphs = [wgan_fast.captured(loss, executor=executor) for loss in LOSSES[what]]
    calls = [gradients_of(loss, critic, *samples) for loss in graphs]
    usual, ours = milliseconds(calls, problem.device)
    yield Result(problem.name, what, problem.batch, short, "captured", usual, ours)


def measure_all(device: str, batches: tuple[int, ...] = BATCHES) -> Iterator[Result]:
    """The most telling first."""
    for batch in batches:
        for dtype in DTYPES:
            for problem, what in (
                (DCGAN, "penalty"),
                (DCGAN, "step with R1 + R2"),
                (LAYER_NORM, "penalty"),
                (MLP, "penalty"),
                (MLP, "step with R1 + R2"),
            ):
                yield from measure(replace(problem, batch=batch, device=device), what, dtype)


def report(results: list[Result]) -> str:
    return pages.table(
        ["critic", "what", "batch", "type", "mode", "usual, ms", "wgan_fast, ms", "speed-up"],
        [
            (
                *(r.critic, r.what, str(r.batch), r.dtype, r.mode),
                *(f"{r.usual_ms:.3f}", f"{r.ours_ms:.3f}", f"{r.usual_ms / r.ours_ms:.2f}x"),
            )
            for r in results
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results: list[Result] = []
    for result in measure_all("cuda"):  # written as they come: the time may run out
        results.append(result)
        print(report([result]).splitlines()[-1], flush=True)
        text = json.dumps([asdict(each) for each in results], indent=1)
        folder.joinpath("steps.json").write_text(text + "\n")
        folder.joinpath("steps.md").write_text(report(results) + "\n")


if __name__ == "__main__":
    main()
