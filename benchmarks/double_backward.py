"""Writes docs/double-backward.md: what a gradient penalty costs, operator by operator.

    python -m benchmarks.double_backward            # the page, with times
    python -m benchmarks.double_backward --no-times # a minute instead of five

The operations are exact and a test compares them with the page; the times are this machine's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from wgan_fast.second_order import (
    efficient_convolutions,
    prune_zero_paths,
    twice_differentiable_backends,
)

from .double_backward_case import IMPOSSIBLE, OpCase
from .double_backward_cases import CASES
from .flops import flops_of

PAGE = Path(__file__).parents[1] / "docs" / "double-backward.md"

Step = Callable[[nn.Module, Tensor], Tensor]


def textbook(critic: nn.Module, samples: Tensor) -> Tensor:
    """The penalty, as it is found in a thousand repositories."""
    x = samples.clone().requires_grad_()
    scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    return ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


def ours(critic: nn.Module, samples: Tensor) -> Tensor:
    """The same, with the three tools that this library offers."""
    x = samples.clone().requires_grad_()
    with efficient_convolutions(), twice_differentiable_backends():
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    gradients = prune_zero_paths(gradients)
    return ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


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


def seconds(*calls: Callable[[], object], rounds: int = 9) -> list[float]:
    """The least processor time of each call, all of them taking turns.

    On one thread, whose own time is counted: other programs on the machine count for little.
    """
    for call in calls:
        call()
    least = [float("inf")] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            start = time.thread_time()
            call()
            least[index] = min(least[index], time.thread_time() - start)
    return least


def operator_table(cases: list[OpCase], timed: bool) -> str:
    rows = ["| operator | kind | PyTorch | here | least | time |", "|---|---|--:|--:|--:|--:|"]
    for case in cases:
        theirs = multiple(case, textbook)
        numbers = [theirs, multiple(case, ours), least(case)]
        cells = [case.name, case.kind, *("–" if n is None else f"{n:.2f}" for n in numbers)]
        speedup = "–"
        if timed and theirs is not None:
            critic, samples = case.critic().float(), case.samples(batch=128).float()
            before, after = seconds(
                lambda net=critic, x=samples: textbook(net, x).backward(),
                lambda net=critic, x=samples: ours(net, x).backward(),
            )
            speedup = f"{before / after:.2f}x"
        rows.append("| " + " | ".join([*cells, speedup]) + " |")
    return "\n".join(rows)


NORMALISATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "BatchNorm2d, eval": lambda: nn.BatchNorm2d(32).eval(),
    "BatchNorm2d": lambda: nn.BatchNorm2d(32),
    "LayerNorm": lambda: nn.LayerNorm([32, 16, 16]),
    "RMSNorm": lambda: nn.RMSNorm([32, 16, 16]),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(32, affine=True),
    "GroupNorm": lambda: nn.GroupNorm(4, 32),
}


def normalisation_table() -> str:
    """What a normalisation layer costs, where everything else is the same."""
    samples = torch.randn(32, 32, 16, 16)
    rows = [
        "| normalisation | forward, ms | penalty, PyTorch, ms | penalty, here, ms | of it for the "
        "normalisation |",
        "|---|--:|--:|--:|--:|",
    ]
    without = 0.0
    for name, make in NORMALISATIONS.items():
        layers = [
            part for _ in range(3) for part in (nn.Conv2d(32, 32, 3, padding=1), make(), nn.SiLU())
        ]
        critic = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16 * 16, 1))
        times = seconds(
            lambda net=critic: net(samples),
            lambda net=critic: textbook(net, samples).backward(),
            lambda net=critic: ours(net, samples).backward(),
        )
        without = without or times[2]
        share = max(0.0, 1 - without / times[2])
        cells = [name, *(f"{1e3 * each:.1f}" for each in times), f"{share:.0%}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def page(timed: bool) -> str:
    groups: dict[str, list[OpCase]] = {}
    for case in CASES:
        groups.setdefault(case.group, []).append(case)
    tables = "\n\n".join(
        f"### {group}\n\n{operator_table(cases, timed)}" for group, cases in groups.items()
    )
    norms = normalisation_table() if timed else "(left out)"
    return _PAGE.format(torch=torch.__version__, tables=tables, normalisations=norms)


_PAGE = """\
# What a gradient penalty costs, operator by operator

Generated by `python -m benchmarks.double_backward` with PyTorch {torch}; do not edit.

The cost of a penalty and its gradient is given in forward passes: their floating-point operations
over those of one call of the critic. Each operator sits in a critic of its own: layer, operator,
layer, operator, score, where the layers are 3x3 convolutions of stride 2 (linear layers for
sequences). The counts are exact and the same on every machine; a test compares them with this page.
The last column says how many times as fast the step is here, in float32, with a batch of 128, in
processor time on one core: the convolutions are small, and half of the time is spent elsewhere.

## The least possible

For a layer before operators that are **linear piece by piece**, such as ReLU or max pooling, it is
4 forward passes: forward, gradient with respect to the input, the tangent of the penalty through
the same masks, gradient with respect to the weights.

For a layer before **smooth** operators, such as SiLU or a normalisation, it is 6: their second
derivative is not zero and has to travel to the input and to the weights of every layer before them.

A product of two activations, as in attention, takes 9: each of its derivatives is two products.

PyTorch takes more for two reasons. The second derivative of what is piecewise linear comes as
zeros, and these travel all the same: 2 passes. And it computes the weight gradient of a strided
convolution by a convolution over a larger region than needed: up to 0.8 passes in two dimensions,
1.4 in three. `prune_zero_paths` and `efficient_convolutions` take care of one each.

"Least" below is the sum of that over the layers of the critic. We stay a little under it where the
score is the last layer: its output needs no second derivative. For smooth operators one pass more
could be spared for the first layer alone, whose second gradient with respect to the interpolates
nobody asks for; PyTorch's engine computes it before anybody can decline, and so do we.

## Operators

{tables}

No double backward in PyTorch, here neither: Hardsigmoid, and `cdist`. `copysign` is linear piece by
piece, but PyTorch's formula divides by its argument and so makes it smooth; it stays that way,
since only what is zero by construction is cut. Without `twice_differentiable_backends`, PyTorch has
none for attention either.

A recurrent network has a large graph and nothing to cut. Here the tools are called by hand and look
for it every time, at about 6 %; `fast_gradient_penalty` looks once in 64 times.

## Normalisation layers

Counted in operations of convolutions and matrix products, normalisation is free. In time it is not:
under `create_graph=True` the derivatives of GroupNorm and RMSNorm run as a chain of elementwise
operations, and the second derivatives of LayerNorm, InstanceNorm and BatchNorm do everywhere. Three
3x3 convolutions of 32 features on 16x16 images, each with the normalisation and a SiLU, batch 32:

{normalisations}

That is PyTorch's derivative formula at work, the same for the textbook and here.

## What is cut

The functions behind which the graph is cut are listed, one by one, in
`wgan_fast/second_order/zero_gradients.py`. A value that merely happens to be zero, like the initial
state of a recurrent network, is never cut.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-times", action="store_true", help="leave the times out")
    timed = not parser.parse_args().no_times
    torch.manual_seed(0)
    torch.set_num_threads(1)
    PAGE.write_text(page(timed))


if __name__ == "__main__":
    main()
