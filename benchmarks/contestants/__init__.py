"""Who races: ways to compute the same penalty, each made for a problem and a dtype."""

from __future__ import annotations

import torch

from ..cases.case import Build, Step


class UnavailableError(Exception):
    """A contestant cannot take part here; the message is the reason that the report prints."""


def absent(reason: str) -> Build:
    """A contestant that does not take part, for this reason."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        raise UnavailableError(reason)

    return build
