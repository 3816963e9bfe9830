"""Which way to run a tape is the fastest, on this machine and with these arguments."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cuda_graph import CudaGraph
from .errors import CaptureError
from .inductor import Inductor
from .replay import Replay
from .tape import Tape
from .unchanged import unchanged

EXECUTORS = ("auto", "replay", "inductor", "cuda_graph")

#: So many calls of each candidate are timed, in turn, after this many that are not.
_TIMED, _UNTIMED = 7, 2


class Choice(NamedTuple):
    """The fastest way, and what the others took.

    Attributes:
        run: it.
        seconds: of one call, for each that was timed, by name.
        left_out: why the others were not, by name.
    """

    run: Any
    seconds: dict[str, float]
    left_out: dict[str, str]


def choose(tape: Tape, inputs: Sequence[Tensor], executor: str) -> Choice:
    """Makes the executor that is asked for, or the fastest. Tensors and generators do not change.

    Raises:
        CaptureError: if the one that is asked for does not work.
    """
    makers: dict[str, Callable[[], Any]] = {
        "replay": lambda: Replay(tape),
        "inductor": lambda: Inductor(tape, inputs),
        "cuda_graph": lambda: CudaGraph(tape, inputs),
    }
    wanted = list(makers) if executor == "auto" else [executor]
    made, left_out = {}, {}
    for name in wanted:
        try:
            with unchanged(tape, inputs):
                run = makers[name]()
                run(inputs)
        except Exception as error:
            left_out[name] = _in_a_word(error)
            if len(wanted) == 1:
                raise CaptureError(
                    f"executor {name!r} does not work here: {left_out[name]}; "
                    "executor='auto' takes one that does."
                ) from error
        else:
            made[name] = run
    seconds = _times(made, tape, inputs)
    fastest = min(made, key=lambda name: seconds[name])
    return Choice(made[fastest], seconds, left_out)


def _times(made: dict[str, Any], tape: Tape, inputs: Sequence[Tensor]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in made}
    with unchanged(tape, inputs):
        for _ in range(_UNTIMED + _TIMED):
            for name, run in made.items():
                begin = time.perf_counter()
                run(inputs)
                _wait(tape)
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each[_UNTIMED:]) for name, each in times.items()}


def _wait(tape: Tape) -> None:
    """Until the accelerator is done, if the tape has something to do for one."""
    if not {"cpu", "meta"}.issuperset(tape.devices):
        torch.accelerator.synchronize()


def _in_a_word(error: BaseException) -> str:
    """The last line of an error that says something, of one that may be pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "Error" in line or "compiler" in line.lower()), None)
    return f"{type(error).__name__}: {text or (lines[0] if lines else '')}"[:300]
