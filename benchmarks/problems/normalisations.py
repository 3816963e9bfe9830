"""One critic with one normalisation layer or another, everything else the same."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

#: By the name of the layer: what makes it.
NORMALISATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "BatchNorm2d, eval": lambda: nn.BatchNorm2d(32).eval(),
    "BatchNorm2d": lambda: nn.BatchNorm2d(32),
    "LayerNorm": lambda: nn.LayerNorm([32, 16, 16]),
    "RMSNorm": lambda: nn.RMSNorm([32, 16, 16]),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(32, affine=True),
    "GroupNorm": lambda: nn.GroupNorm(4, 32),
}


def normalised(name: str) -> nn.Sequential:
    """Three convolutions of 32 features on 16x16 images, each with a normalisation and a SiLU."""
    layers = [
        part
        for _ in range(3)
        for part in (nn.Conv2d(32, 32, 3, padding=1), NORMALISATIONS[name](), nn.SiLU())
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16 * 16, 1))
