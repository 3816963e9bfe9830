"""Learn the energy of a cluster of atoms from energies and forces, each step one graph.

    python examples/force_matching.py            # half a minute on 2 cores
    python examples/force_matching.py --eager    # without ``captured`` beside it, to compare

The truth is a Morse potential between all pairs of eight atoms, shaken about the corners of a cube.
A small message passing network is to predict the energy. Forces are its negative gradient, so that
a loss of forces trains by a double backward: ``efficient_double_backward`` makes that cheaper, and
``captured`` spares the calls.

Source: Schütt et al., "SchNet", arXiv 1706.08566: filters of the distance, and the loss.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from wgan_fast import captured, efficient_double_backward

ATOMS = 8
WIDTH, RADIAL, BATCH = 32, 8, 8
OTHERS = torch.tensor([[j for j in range(ATOMS) if j != i] for i in range(ATOMS)])


def distances(positions: Tensor) -> Tensor:
    """From each atom to all others, [B, N, 3] to [B, N, N - 1]."""
    return (positions[:, OTHERS] - positions[:, :, None]).square().sum(3).sqrt()


def morse(positions: Tensor) -> Tensor:
    """The true energies [B] of positions [B, N, 3]: bonds of length 1 and of energy 1."""
    stretched = 1 - torch.exp(-3 * (distances(positions) - 1))
    return (stretched.square() - 1).sum((1, 2)) / 2  # each pair is in there twice


def layers(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, WIDTH), nn.SiLU(), nn.Linear(WIDTH, n_out))


class MessagePassing(nn.Module):
    """Positions [B, N, 3] to energies [B]; every atom hears twice from all others."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.randn(WIDTH))  # all atoms are of one
        self.filters = nn.ModuleList(layers(RADIAL, WIDTH) for _ in range(2))
        self.updates = nn.ModuleList(layers(WIDTH, WIDTH) for _ in range(2))
        self.energy = layers(WIDTH, 1)

    def forward(self, positions: Tensor) -> Tensor:
        apart = distances(positions)[..., None]
        expanded = torch.sin(torch.pi / 4 * torch.arange(1, RADIAL + 1) * apart) / apart
        atoms = self.kind.expand(len(positions), ATOMS, WIDTH)
        for filter, update in zip(self.filters, self.updates, strict=True):
            atoms = atoms + update((filter(expanded) * atoms[:, OTHERS]).sum(2))
        return self.energy(atoms).sum((1, 2))


def loss(net: nn.Module, positions: Tensor, energies: Tensor, forces: Tensor) -> Tensor:
    positions = positions.detach().requires_grad_()
    with efficient_double_backward(net) as double_backward:
        predicted = net(positions)
    (slopes,) = torch.autograd.grad(predicted.sum(), positions, create_graph=True)
    wrong_forces = double_backward.prune(slopes) + forces
    return (predicted - energies).square().mean() / ATOMS + wrong_forces.square().mean()


def energies_and_forces(energy: Callable, positions: Tensor) -> tuple[Tensor, Tensor]:
    positions = positions.detach().requires_grad_()
    energies = energy(positions)
    return energies.detach(), -torch.autograd.grad(energies.sum(), positions)[0]


def shaken(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """n positions with their energies and forces; the mean energy is taken to be 0."""
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    generator = torch.Generator().manual_seed(seed)
    positions = corners + 0.08 * torch.randn(n, ATOMS, 3, generator=generator)
    energies, forces = energies_and_forces(morse, positions)
    return positions, energies - energies.mean(), forces


def force_error(net: nn.Module) -> float:
    """At positions that the training has not seen, relative to the forces, in the mean square."""
    positions, _, forces = shaken(200, seed=1)
    return ((energies_and_forces(net, positions)[1] - forces).norm() / forces.norm()).item()


def train(net: nn.Module, steps: int, eager: bool) -> Iterator[float]:
    """After each step, the seconds that it took."""
    step_loss = loss if eager else captured(loss, executor="replay")
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    samples, generator = shaken(1000, seed=0), torch.Generator().manual_seed(0)
    for _ in range(steps):
        begin = time.perf_counter()
        chosen = torch.randint(1000, (BATCH,), generator=generator)
        optimiser.zero_grad()
        step_loss(net, *(each[chosen] for each in samples)).backward()
        optimiser.step()
        schedule.step()
        yield time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Returns the errors of forces before and after the training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--eager", action="store_true", help="train without captured, too")
    given = parser.parse_args(arguments)
    torch.manual_seed(0)
    nets = {"captured": MessagePassing()}
    if given.eager:
        nets["eager"] = copy.deepcopy(nets["captured"])
    errors = {"before": force_error(nets["captured"])}
    print(f"relative error of forces before training: {errors['before']:.3g}")
    trainings = [train(net, given.steps, name == "eager") for name, net in nets.items()]
    seconds = list(zip(*trainings, strict=True))  # in turn, for a fair comparison
    for (name, net), times in zip(nets.items(), zip(*seconds, strict=True), strict=True):
        errors[name] = force_error(net)
        step = 1e3 * statistics.median(times)
        print(f"{name}: {step:.2f} ms a step, relative error of forces {errors[name]:.3g}")
    return errors


if __name__ == "__main__":
    main()
