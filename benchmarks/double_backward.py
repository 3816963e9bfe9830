"""Writes the tables of docs/double-backward.md: what a penalty costs, operator by operator.

    python -m benchmarks.double_backward            # with times
    python -m benchmarks.double_backward --no-times # a minute instead of five

The operations are exact and a test compares them with the page; the times are this machine's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tools import pages
from wgan_fast.second_order import (
    efficient_convolutions,
    efficient_double_backward,
    prune_zero_paths,
    twice_differentiable_backends,
    without_thresholds,
)

from . import machine
from .calls import CallCounter, calls_and_bytes_of
from .contestants.critic_losses import USUAL
from .contestants.textbook import penalty_at
from .flops import flops_of
from .problems.activations import ACTIVATIONS
from .problems.normalisations import NORMALISATIONS, normalised
from .problems.operator_problem import IMPOSSIBLE, OpCase
from .problems.operators import CASES
from .problems.problem import LAMBDA
from .race.counts import counts_alone
from .suites import derivatives
from .timing import Call, interleaved

PAGE = Path(__file__).parents[1] / "docs" / "double-backward.md"

#: Losses of derivatives whose calls are counted; the bytes grow as the batch does.
DERIVATIVES = [
    ("Burgers", replace(derivatives.TANH, batch=4096)),
    ("Burgers", replace(derivatives.SILU, batch=4096)),
    ("force matching", replace(derivatives.FORCES, batch=8)),
]

Step = Callable[[nn.Module, Tensor], Tensor]


def textbook(critic: nn.Module, samples: Tensor) -> Tensor:
    """The penalty at the samples, as it is found in a thousand repositories."""
    return penalty_at(critic, samples.clone().requires_grad_())


def ours(critic: nn.Module, samples: Tensor) -> Tensor:
    """The same, with the three tools that this library offers."""
    x = samples.clone().requires_grad_()
    with efficient_convolutions(), twice_differentiable_backends():
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    gradients = prune_zero_paths(gradients)
    return LAMBDA * ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


def multiple(case: OpCase, step: Step) -> float | None:
    """The operations of penalty and gradient over those of one forward pass."""
    critic, samples = case.critic(), case.samples()
    with twice_differentiable_backends():
        forward = flops_of(lambda: critic(samples))
    try:
        return flops_of(lambda: step(critic, samples).backward()) / forward
    except RuntimeError as error:
        if "is not implemented" in str(error):
            return None
        raise


def least(case: OpCase) -> float | None:
    if case.kind == IMPOSSIBLE:
        return None
    critic, samples = case.critic(), case.samples()
    with twice_differentiable_backends():
        return case.least_flops() / flops_of(lambda: critic(samples))


def seconds(calls: list[Call]) -> list[float]:
    """The processor time of each call, all of them taking turns on one thread."""
    for call in calls:
        call()
    timings = interleaved(
        {str(i): call for i, call in enumerate(calls)},
        rounds=(9, 9),
        least=0.0,
        processor_time=True,
    )
    return [timing.median for timing in timings.values()]


def speedup(case: OpCase) -> str:
    """How many times as fast the step is with the library's tools, in float32."""
    critic, samples = case.critic().float(), case.samples(batch=128).float()
    before, after = seconds(
        [lambda: textbook(critic, samples).backward(), lambda: ours(critic, samples).backward()]
    )
    return f"{before / after:.2f}x"


def operator_table(cases: list[OpCase], timed: bool) -> str:
    rows = []
    for case in cases:
        theirs = multiple(case, textbook)
        counts = (theirs, multiple(case, ours), least(case))
        time = speedup(case) if timed and theirs is not None else "–"
        cells = ("–" if count is None else f"{count:.2f}" for count in counts)
        rows.append([case.name, case.kind, *cells, time])
    return pages.numbers(["operator", "kind", "PyTorch", "here", "least", "time"], rows)


def operator_tables(timed: bool) -> str:
    """A heading and a table for each group of operators."""
    groups: dict[str, list[OpCase]] = {}
    for case in CASES:
        groups.setdefault(case.group, []).append(case)
    parts = [f"PyTorch {torch.__version__}, one core of {machine.processor()}:"]
    for group, cases in groups.items():
        parts += [f"### {group}", operator_table(cases, timed)]
    return "\n\n".join(parts)


def with_layers(critic: nn.Module, samples: Tensor) -> Tensor:
    """The penalty, with every layer that has another double backward here."""
    x = samples.clone().requires_grad_()
    with efficient_double_backward() as double_backward:
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    gradients = double_backward.prune(gradients)
    return LAMBDA * ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


def moved(name: str) -> tuple[int, int, int, int]:
    """Calls of the textbook's penalty with its gradient and of ours, and the megabytes of both."""
    critic, samples = normalised(name), torch.randn(32, 32, 16, 16)
    counts = []
    for step in (textbook, with_layers):
        step(critic, samples).backward()  # gradients are added to those that there are
        counts.append(calls_and_bytes_of(lambda step=step: step(critic, samples).backward()))
    (calls, size), (ours, our_size) = counts
    return calls, ours, round(size / 1e6), round(our_size / 1e6)


def normalisation_table(timed: bool) -> str:
    """What a normalisation layer costs, where everything else is the same."""
    samples = torch.randn(32, 32, 16, 16)
    rows = []
    for name in NORMALISATIONS:
        critic = normalised(name)
        times = seconds([
            lambda net=critic: net(samples),
            lambda net=critic: textbook(net, samples).backward(),
            lambda net=critic: with_layers(net, samples).backward(),
        ]) if timed else []  # fmt: skip
        cells = [f"{1e3 * each:.1f}" for each in times] or ["–"] * 3
        rows.append([name, *cells, *map(str, moved(name))])
    header = ["normalisation", "forward, ms", "PyTorch, ms", "here, ms", "PyTorch, calls",
              "here, calls", "PyTorch, MB", "here, MB"]  # fmt: skip
    return pages.numbers(header, rows)


def second_order_calls(
    activation: Callable[[Tensor], Tensor], context: Callable[[], AbstractContextManager[object]]
) -> tuple[int, float]:
    """Calls, and arrays moved, of a backward pass that is recorded and the backward pass of that.

    An array is one of the activation's size, in float32, read or written.
    """
    leaves = [torch.randn(4096).requires_grad_() for _ in range(2)]
    x, grad = (leaf.clone() for leaf in leaves)
    tangent = torch.ones_like(x)
    with without_thresholds(), context():
        output = activation(x)
    with CallCounter() as counter:
        (first,) = torch.autograd.grad(output, x, grad, create_graph=True)
        torch.autograd.grad(first, [grad, x], tangent)
    return counter.calls, counter.bytes / (x.numel() * x.element_size())


def activation_table() -> str:
    """What the second order of an activation takes, PyTorch's and here."""
    rows = []
    for name, activation in ACTIVATIONS.items():
        theirs = second_order_calls(activation, nullcontext)
        ours = second_order_calls(activation, efficient_double_backward)
        rows.append([name, theirs[0], ours[0], f"{theirs[1]:.0f}", f"{ours[1]:.0f}"])
    header = ["activation", "calls, PyTorch", "calls, here", "arrays, PyTorch", "arrays, here"]
    return pages.numbers(header, rows)


def derivatives_table() -> str:
    """What one step of a loss of derivatives takes, forward and backward."""
    rows = []
    for phase, problem in DERIVATIVES:
        case = derivatives.case(problem, phase)
        theirs, ours = (counts_alone(case, name) for name in (USUAL, "wgan_fast"))
        sizes = (round(row["bytes"] / 1e6) for row in (theirs, ours))
        rows.append([case.name, theirs["calls"], ours["calls"], *sizes])
    header = ["loss", "PyTorch, calls", "here, calls", "PyTorch, MB", "here, MB"]
    return pages.numbers(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-times", action="store_true", help="leave the times out")
    timed = not parser.parse_args().no_times
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pages.write("activations", activation_table(), PAGE)
    pages.write("derivatives", derivatives_table(), PAGE)
    pages.write("operators", operator_tables(timed), PAGE)
    pages.write("normalisations", normalisation_table(timed), PAGE)


if __name__ == "__main__":
    main()
