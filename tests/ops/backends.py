"""Everything that can run an operator here: name -> (operator -> callable on tensors).

A contract test takes its backend from :data:`BACKENDS`, so that a new one is held to all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from simt import build as simulation
from simt.backend import SimulatedGpu
from tests.cuda import backend as cuda
from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native

Operators = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Arithmetic:
    """How a backend sums squares; from this follows how exact it has to be.

    Args:
        wide: the dtype of the sum, the norm and the penalty before they are rounded; None for the
            dtype in which the elements are computed.
        additions: the most additions that one square can pass through on its way into the sum;
            None for as many as there are squares.
    """

    wide: torch.dtype | None = torch.float64
    additions: int | None = None


def _native() -> Operators:
    def below_autograd(overload: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with torch.no_grad():
                return overload(*args)

        return run

    return {name: below_autograd(op.overload) for name, op in REGISTRY.items()}


@functools.cache
def _gpu() -> SimulatedGpu:
    return SimulatedGpu()


def _simulated() -> Operators:
    """The CUDA kernels on a simulated GPU, which is built when the first of them is called."""

    def on_gpu(name: str) -> Callable[..., Any]:
        return lambda *args: getattr(_gpu(), name)(*args)

    return {name: on_gpu(name) for name in REGISTRY}


BACKENDS: dict[str, Operators] = {
    "reference": {name: op.reference for name, op in REGISTRY.items()},
}
ARITHMETIC = {"reference": Arithmetic(), "native": Arithmetic()}
#: Why a backend is not in BACKENDS.
MISSING: dict[str, str] = {}

if native.failure is None:
    BACKENDS["native"] = _native()
else:
    MISSING["native"] = native.failure

_without_gpu = simulation.why_not("plain")
if _without_gpu is None:
    BACKENDS["simulated"] = _simulated()
    # A thread adds up to 32 squares of its own, then a tree of 256 threads and up to 1024 segments.
    ARITHMETIC["simulated"] = Arithmetic(wide=None, additions=128)
else:
    MISSING["simulated"] = _without_gpu

_without_cuda = cuda.why_not()
if _without_cuda is None:
    BACKENDS["cuda"] = cuda.OPERATORS
    ARITHMETIC["cuda"] = Arithmetic(wide=None, additions=128)  # the same kernels
else:
    MISSING["cuda"] = _without_cuda
