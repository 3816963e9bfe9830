"""How far the parameter gradient by finite differences is from the exact one.

    python -m benchmarks.finite_difference      # writes the tables of docs/variants.md

Of three kinds: the error over the step for smooth critics, what happens at the kinks of piecewise
linear ones, and the operations of a step. They are deterministic up to rounding; no time is taken.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tools import pages
from wgan_fast import FiniteDifference, r1_penalty
from wgan_fast._penalise.finite_differences import STEPS

from .flops import flops_of
from .problems import critics

PAGE = Path(__file__).parent.parent / "docs" / "variants.md"

#: Critics and samples of one row in the tables: 2-D points, and images with pixels in [-1, 1].
POINTS, DIGITS, IMAGES = (2,), (784,), (3, 32, 32)
SMOOTH = {
    "MLP 2-128x3-1, tanh": (lambda: critics.mlp(2, 128, 3, nn.Tanh), POINTS),
    "MLP 784-128x3-1, SiLU": (lambda: critics.mlp(784, 128, 3, nn.SiLU), DIGITS),
    "DCGAN 3x32x32, SiLU": (lambda: critics.dcgan(32, 16, nn.SiLU), IMAGES),
    "DCGAN 3x32x32, tanh": (lambda: critics.dcgan(32, 16, nn.Tanh), IMAGES),
}
KINKED = {
    "MLP 2-128x3-1, ReLU": (lambda: critics.mlp(2, 128, 3), POINTS),
    "MLP 784-128x3-1, ReLU": (lambda: critics.mlp(784, 128, 3), DIGITS),
    "DCGAN 3x32x32, LeakyReLU": (lambda: critics.dcgan(32, 16), IMAGES),
}


def samples_of(shape: tuple[int, ...], batch: int) -> Tensor:
    drawn = torch.randn(batch, *shape) if shape == POINTS else 2 * torch.rand(batch, *shape) - 1
    return drawn.double()


def made(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """A critic whose gradient norms are about 1, as in training, float64."""
    torch.manual_seed(0)
    critic = build().double()
    weights = [p for p in critic.parameters() if p.dim() > 1]
    for _ in range(20):
        _, norms = r1_penalty(critic, samples_of(shape, 64), return_norms=True)
        for weight in weights:
            weight.data *= norms.mean() ** (-1 / len(weights))
    return critic


def gradient(critic: nn.Module, samples: Tensor, step: float | None) -> Tensor:
    """The gradient of R1 with respect to all parameters; exact for no step."""
    how = {}
    if step is not None:
        how = {"double_backward": FiniteDifference(step)}
    penalty = r1_penalty(critic, samples, **how)
    grads = torch.autograd.grad(penalty, list(critic.parameters()), materialize_grads=True)
    return torch.cat([g.flatten().double() for g in grads])


def error(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()


def smooth_table(dtype: torch.dtype, steps: list[float]) -> str:
    """The error over the step. The exact double backward in the same dtype is the last row."""
    columns = []
    for build, shape in SMOOTH.values():
        critic, samples = made(build, shape), samples_of(shape, 32)
        exact = gradient(critic, samples, None)
        low, low_samples = copy.deepcopy(critic).to(dtype), samples.to(dtype)
        columns.append([error(gradient(low, low_samples, s), exact) for s in [*steps, None]])
    names = [f"{s:g}{' (default)' if s == STEPS[dtype] else ''}" for s in steps]
    rows = zip([*names, "exact double backward"], *columns, strict=True)
    lines = [[name, *(f"{value:.0e}" for value in values)] for name, *values in rows]
    return pages.numbers([f"step, {str(dtype).removeprefix('torch.')}", *SMOOTH], lines)


def kink_table(steps: list[float], batches: int) -> str:
    """Along the mean gradient by differences: the derivative of the penalty's expectation, and what
    the gradients say it is; and how much a batch's gradient scatters."""
    lines = []
    for name, (build, shape) in KINKED.items():
        critic = made(build, shape)
        data = [samples_of(shape, 64) for _ in range(batches)]
        results = {s: torch.stack([gradient(critic, x, s) for x in data]) for s in [None, *steps]}
        direction = results[steps[0]].mean(0)
        direction = direction / direction.norm()
        measured = slope(critic, data, direction)
        for step, gradients in results.items():
            mean = gradients.mean(0)
            scatter = (gradients - mean).square().sum(1).mean().sqrt() / mean.norm()
            how = "exact double backward" if step is None else f"step {step:g}"
            cells = f"{measured:.1f}", f"{mean @ direction:.1f}", f"{scatter:.2f}"
            lines.append([f"{name}, {how}", *cells])
    header = ["critic, gradient", "derivative, measured", "derivative, by the gradient",
              "scatter of a batch of 64"]  # fmt: skip
    return pages.numbers(header, lines)


def slope(critic: nn.Module, data: list[Tensor], direction: Tensor, size: float = 0.02) -> float:
    """How the mean penalty really changes along a direction in the parameters."""
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(critic)
        torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(moved.parameters()) + sign * size * direction,
            moved.parameters(),
        )
        with torch.no_grad():
            values.append(sum(r1_penalty(moved, x).item() for x in data) / len(data))
    return (values[0] - values[1]) / (2 * size)


def flops_table() -> str:
    """Operations of the penalty and its gradient, in forward passes."""
    lines = []
    for name, (build, shape) in (SMOOTH | KINKED).items():
        critic, samples = made(build, shape), samples_of(shape, 32)
        counts = [
            flops_of(run)
            for run in (
                lambda c=critic, x=samples: c(x),
                lambda c=critic, x=samples: gradient(c, x, None),
                lambda c=critic, x=samples: gradient(c, x, 1e-3),
            )
        ]
        lines.append([name, *(f"{count / counts[0]:.2f}" for count in counts[1:])])
    return pages.numbers(["critic", "exact", "finite differences"], lines)


def tables(quick: bool) -> dict[str, str]:
    """Place in docs/variants.md -> the table that stands there."""
    low = [0.5, 0.1, 0.02, STEPS[torch.float32], 1e-3, 1e-4]
    high = [1e-2, 1e-3, 1e-4, 1e-5, STEPS[torch.float64], 1e-7]
    return {
        "errors of finite differences, float32": smooth_table(torch.float32, low),
        "errors of finite differences, float64": smooth_table(torch.float64, high),
        "operations of finite differences": flops_table(),
        "finite differences at kinks": kink_table([0.1, 0.01, 0.005], 10 if quick else 100),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="print, from few samples")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    for place, table in tables(quick).items():
        if quick:
            print(f"{place}\n\n{table}\n")
        else:
            pages.write(place, table, PAGE)


if __name__ == "__main__":
    main()
