"""The energy of molecules, whose negative gradient is the force on each atom."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _two_layers(before: int, width: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, width), nn.SiLU(), nn.Linear(width, after))


class Interaction(nn.Module):
    """Every atom hears from all others: their features times a filter of the distance."""

    def __init__(self, width: int, radial: int):
        super().__init__()
        self.filter = _two_layers(radial, width, width)
        self.message = nn.Linear(width, width, bias=False)
        self.update = _two_layers(width, width, width)

    def forward(self, atoms: Tensor, expanded: Tensor, others: Tensor) -> Tensor:
        """``[B, N, width]``, distances ``[B, N, N - 1, radial]`` and the indices of others."""
        heard = self.filter(expanded) * self.message(atoms)[:, others]
        return atoms + self.update(heard.sum(2))


class MessagePassing(nn.Module):
    """A small net in the manner of SchNet (arXiv 1706.08566), where all atoms are neighbours.

    Takes positions ``[B, N, 3]`` in units of a bond and returns energies ``[B]``.
    """

    centres: Tensor
    others: Tensor

    def __init__(self, atoms: int, width: int = 64, radial: int = 32, interactions: int = 3):
        super().__init__()
        self.kinds = nn.Parameter(torch.randn(atoms, width))
        self.interactions = nn.ModuleList(Interaction(width, radial) for _ in range(interactions))
        self.energy = _two_layers(width, width // 2, 1)
        self.register_buffer("centres", torch.linspace(0.0, 5.0, radial))
        each = torch.arange(atoms)
        others = torch.stack([each[each != atom] for atom in each])
        self.register_buffer("others", others)

    def forward(self, positions: Tensor) -> Tensor:
        apart = positions[:, self.others] - positions[:, :, None]
        distances = apart.square().sum(3, keepdim=True).sqrt()
        expanded = (-2 * (distances - self.centres).square()).exp()
        atoms = self.kinds.expand(len(positions), -1, -1)
        for interaction in self.interactions:
            atoms = interaction(atoms, expanded, self.others)
        return self.energy(atoms).sum((1, 2))
