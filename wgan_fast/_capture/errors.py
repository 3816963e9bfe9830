"""What cannot be captured, told with the line of the user's that it is about."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

_NOT_THE_USERS = ("wgan_fast", "torch", "contextlib", "functools")


class CaptureError(RuntimeError):
    """A function cannot be captured; the message names the line, and what to do."""


def refuse(reason: str) -> CaptureError:
    """The error for what is being done right now."""
    return CaptureError(f"{reason} {_WAY_OUT}{_at(_frames_outwards())}")


def explain(error: BaseException) -> CaptureError:
    """The error for what somebody else raised while calls were recorded."""
    reason = f"recording it raised {type(error).__name__}: {str(error).strip()}."
    return CaptureError(f"{reason} {_WAY_OUT}{_at(_frames_inwards(error.__traceback__))}")


_WAY_OUT = "captured(..., fallback=True) runs such a function eagerly."


def _at(frames: Iterable[tuple[FrameType, int]]) -> str:
    for frame, line in frames:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THE_USERS:
            file = frame.f_code.co_filename
            source = linecache.getline(file, line, frame.f_globals).strip()
            return f"\n  {file}:{line}: {source}"
    return ""


def _frames_outwards() -> Iterator[tuple[FrameType, int]]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _frames_inwards(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Those of a traceback, innermost first."""
    found = []
    while traceback is not None:
        found.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return found[::-1]
