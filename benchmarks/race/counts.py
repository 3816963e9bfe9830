"""The exact numbers of one call of a contestant: calls of operators, their bytes, passes.

They are the same on every machine, say what noise cannot, and are taken outside of the timing.
"""

from __future__ import annotations

from typing import Any

from ..calls import CallCounter
from ..contestants import COMPILED, Step, UnavailableError
from ..flops import FlopCounter
from ..suites.case import Case

Row = dict[str, Any]

#: The columns.
COUNTS = ("calls", "bytes", "passes")


def counts(case: Case, steps: dict[str, Step]) -> dict[str, Row]:
    """Of one call of each contestant that can be counted; its steps have been called before.

    ``calls`` and ``bytes``, and ``passes`` of the critic where the case tells what a pass is.
    """
    one = case.pass_flops()
    return {name: _of(step, one) for name, step in steps.items() if name not in COMPILED}


def _of(step: Step, one_pass: int) -> Row:
    with CallCounter() as counter, FlopCounter() as operations:
        step(None)
    row: Row = {"calls": counter.calls, "bytes": counter.bytes}
    return row | ({"passes": operations.flops / one_pass} if one_pass else {})


def counts_alone(case: Case, name: str) -> Row:
    """The same of a contestant that is set up for nothing else; none where it is not there."""
    if name in COMPILED:
        return {}
    try:
        step = case.contestants[name](case.dtype, None)
    except UnavailableError:
        return {}
    step(None)  # learns what pays, and looks at what every other call relies on
    return counts(case, {name: step})[name]
