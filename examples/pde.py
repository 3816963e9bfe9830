"""Solve Burgers' equation by a physics-informed network, each step of its training one graph.

    python examples/pde.py            # half a minute on 2 cores
    python examples/pde.py --eager    # the same training without ``captured`` beside it, to compare

u_t + u u_x = nu u_xx has a wave that keeps its shape, 1/2 - 1/2 tanh((x - t/2) / (4 nu)). A network
is given that wave at t = 0 and at both ends, and nothing of it in between, where the equation is to
hold. The equation's residual has the network's second derivatives in it, and training by it takes
the third: ``efficient_double_backward`` makes them cheaper, and ``captured`` spares the calls.

Source: Raissi, Perdikaris and Karniadakis, "Physics informed deep learning", arXiv 1711.10561.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wgan_fast import captured, efficient_double_backward

VISCOSITY = 0.05


def solution(points: Tensor) -> Tensor:
    """u at points (x, t), [B, 2] to [B, 1]."""
    x, t = points.split(1, 1)
    return (1 - torch.tanh((x - t / 2) / (4 * VISCOSITY))) / 2


def loss(net: nn.Module, points: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """The residual at points [B, 2], and the error where the values [K, 1] are known."""
    points = points.detach().requires_grad_()
    with efficient_double_backward(net) as double_backward:
        u = net(points)
    (slopes,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    u_x, u_t = double_backward.prune(slopes).unbind(1)
    (slopes_of_u_x,) = torch.autograd.grad(u_x.sum(), points, create_graph=True)
    residual = u_t + u[:, 0] * u_x - VISCOSITY * slopes_of_u_x[:, 0]
    return residual.square().mean() + (net(known) - values).square().mean()


def drawn_points(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points within [-1, 1] x [0, 1], and a quarter as many at t = 0 and at both ends of x."""
    scale, shift = torch.tensor([2.0, 1.0]), torch.tensor([-1.0, 0.0])
    points = torch.rand(n, 2, generator=generator) * scale + shift
    known = torch.rand(n // 4, 2, generator=generator) * scale + shift
    known[0::3, 1] = 0.0
    known[1::3, 0] = -1.0
    known[2::3, 0] = 1.0
    return points, known


@torch.no_grad()
def error(net: nn.Module) -> float:
    """Of the network on a grid, relative to the solution, in the mean square."""
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 101), torch.linspace(0, 1, 51))
    expected = solution(grid)
    return ((net(grid) - expected).norm() / expected.norm()).item()


def network() -> nn.Sequential:
    layers = [layer for n in (2, 64, 64, 64) for layer in (nn.Linear(n, 64), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(64, 1))


def train(net: nn.Module, steps: int, n_points: int, eager: bool) -> Iterator[float]:
    """After each step, the seconds that it took."""
    step_loss = loss if eager else captured(loss, executor="replay")
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        begin = time.perf_counter()
        points, known = drawn_points(n_points, generator)
        optimiser.zero_grad()
        step_loss(net, points, known, solution(known)).backward()
        optimiser.step()
        schedule.step()
        yield time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Returns the errors before and after the training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--points", type=int, default=256, help="in a step (256)")
    parser.add_argument("--eager", action="store_true", help="train without captured, too")
    given = parser.parse_args(arguments)
    torch.manual_seed(0)
    nets = {"captured": network()}
    if given.eager:
        nets["eager"] = copy.deepcopy(nets["captured"])
    errors = {"before": error(nets["captured"])}
    print(f"relative error before training: {errors['before']:.3g}")
    trainings = [
        train(net, given.steps, given.points, name == "eager") for name, net in nets.items()
    ]
    seconds = list(zip(*trainings, strict=True))  # in turn, for a fair comparison
    for (name, net), times in zip(nets.items(), zip(*seconds, strict=True), strict=True):
        errors[name] = error(net)
        step = 1e3 * statistics.median(times)
        print(f"{name}: {step:.2f} ms a step, relative error {errors[name]:.3g}")
    return errors


if __name__ == "__main__":
    main()
