"""Warnings that point at the line of the user's that they are about."""

from __future__ import annotations

import sys
import warnings

#: Their frames lie between the user's line and the warning: this package's own, those of PyTorch's
#: decorators and checkpoints, and of contexts that end.
_BETWEEN = ("wgan_fast", "torch", "contextlib")


def warn(message: str) -> None:
    """Gives a UserWarning at the first line, from here outwards, of none of these.

    ``skip_file_prefixes`` of Python 3.12 would do the same.
    """
    level, frame = 1, sys._getframe()
    while frame is not None and _package_of(frame.f_globals.get("__name__")) in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _package_of(module: str | None) -> str:
    return (module or "").partition(".")[0]
