"""The energy of molecules, whose negative gradient is the force on each atom."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def _layers(*widths: int) -> nn.Sequential:
    """Linear layers between these widths, with SiLU between them."""
    linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(
        *(part for layer in linear[:-1] for part in (layer, nn.SiLU())), linear[-1]
    )


class Interaction(nn.Module):
    """Every atom hears from all others: their features times a filter of the distance."""

    def __init__(self, width: int, radial: int):
        super().__init__()
        self.filter = _layers(radial, 64, 64, 64, width)
        self.message = nn.Linear(width, width, bias=False)
        self.update = _layers(width, width, width)

    def forward(self, atoms: Tensor, expanded: Tensor, others: Tensor) -> Tensor:
        """``[B, N, width]``, distances ``[B, N, N - 1, radial]`` and the indices of others."""
        heard = self.filter(expanded) * self.message(atoms)[:, others]
        return atoms + self.update(heard.sum(2))


class MessagePassing(nn.Module):
    """A small net in which all atoms are neighbours, and vectors and tensors are left out.

    Takes positions ``[B, N, 3]`` in units of a bond and returns energies ``[B]``. The sizes are
    MACE's (arXiv 2206.07697): two interactions, 8 radial functions, and filters of the distance
    with three hidden layers of 64 features.
    """

    frequencies: Tensor
    others: Tensor

    def __init__(self, atoms: int, width: int = 64, radial: int = 8, interactions: int = 2):
        super().__init__()
        self.kinds = nn.Parameter(torch.randn(atoms, width))
        self.interactions = nn.ModuleList(Interaction(width, radial) for _ in range(interactions))
        self.energy = _layers(width, width // 2, 1)
        self.register_buffer("frequencies", torch.pi / 5 * torch.arange(1, radial + 1))
        each = torch.arange(atoms)
        self.register_buffer("others", torch.stack([each[each != atom] for atom in each]))

    def forward(self, positions: Tensor) -> Tensor:
        apart = positions[:, self.others] - positions[:, :, None]
        distances = apart.square().sum(3, keepdim=True).sqrt()
        expanded = (distances * self.frequencies).sin() / distances
        atoms = self.kinds.expand(len(positions), -1, -1)
        for interaction in self.interactions:
            atoms = interaction(atoms, expanded, self.others)
        return self.energy(atoms).sum((1, 2))
