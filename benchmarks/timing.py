"""Time contestants fairly: warmed up, interleaved, by medians, with intervals of their ratios.

Each round runs every contestant once, so that a machine whose speed drifts drifts for all of them,
and in an order of its own: who runs after a contestant that left the caches and the heap in
disorder would otherwise always be the same. A fixed reference workload runs along and shows the
drift.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

import torch

Call = Callable[[], object]

#: How long the threads of one contestant may still spin when the next one begins: those of OpenMP
#: do for 5 ms, and JAX's were a fifth slower beside them.
PAUSE = 10e-3


@dataclass(frozen=True)
class Timing:
    """The seconds of one call of one contestant, a value for each round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The 20 % and 80 % quantiles."""
        cuts = quantiles(self.seconds, n=5, method="inclusive")
        return cuts[0], cuts[-1]


def interleaved(
    contestants: dict[str, Call],
    *,
    rounds: tuple[int, int] = (5, 30),
    budget: float = 10.0,
    least: float = 10e-3,
    device: str = "cpu",
    processor_time: bool = False,
    before: Call = lambda: None,
) -> dict[str, Timing]:
    """The time of one call of each contestant, measured in interleaved rounds.

    Args:
        contestants: what to call; each has been called before and is warm.
        rounds: how often to measure each, at least and at most.
        budget: between the two, as many rounds as fit into about this many seconds. A contestant
            so slow that it alone would exceed this takes part in the first rounds only, three at
            least.
        least: each measurement repeats its call until it lasts about this many seconds, so that a
            call of a microsecond is not a measurement of the clock. What lasts less than twice as
            long is called once more beforehand: waking the threads is no part of it.
        device: "cpu", timed by the clock, or "cuda", timed by events on the current stream.
        processor_time: on the CPU, count the time that this thread has run and not the clock's.
            For calls that run on one thread: other programs on the machine count for little.
        before: called before each measurement and not measured; on a GPU, just before in the
            stream.
    """
    clock = time.thread_time if processor_time else time.perf_counter
    measure = _seconds_on_cuda if device == "cuda" else partial(_seconds, clock=clock)

    def measured(name: str, repeats: int, wake: bool) -> float:
        if device == "cpu":
            time.sleep(PAUSE)
        if wake:
            contestants[name]()
        return measure(contestants[name], repeats, before)

    estimates = {name: measured(name, 1, False) for name in contestants}
    short = [name for name, estimate in estimates.items() if estimate < 2 * least]
    estimates |= {name: measured(name, 3, True) for name in short}
    how = {name: (max(1, round(least / estimates[name])), name in short) for name in contestants}
    # What lasts long has run its first round already.
    seconds = {
        name: [measured(name, *how[name]) if name in short else estimates[name]]
        for name in contestants
    }
    a_round = sum(PAUSE + max(least, estimate) for estimate in estimates.values())
    count = min(max(int(budget / a_round), rounds[0]), rounds[1])
    counts = {
        name: min(count, max(3, int(budget / max(estimate, 1e-9))))
        for name, estimate in estimates.items()
    }
    orders = random.Random(0)
    for turn in range(1, count):
        for name in orders.sample(list(contestants), len(contestants)):
            if turn < counts[name]:
                seconds[name].append(measured(name, *how[name]))
    return {name: Timing(values) for name, values in seconds.items()}


def _seconds(call: Call, repeats: int, before: Call, clock: Callable[[], float]) -> float:
    before()
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def _seconds_on_cuda(call: Call, repeats: int, before: Call) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def shared_rounds(columns: list[list[float]]) -> int:
    """How many rounds all took part in: a slow contestant leaves the race early."""
    return min(map(len, columns))


def resampled_medians(columns: list[list[float]], count: int = 1000) -> torch.Tensor:
    """Medians of bootstrap resamples of the rounds that all share, ``[len(columns), count]``.

    The columns are resampled together, round by round: the drift that they share cancels in ratios
    between them.
    """
    rounds = shared_rounds(columns)
    values = torch.tensor([column[:rounds] for column in columns], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(rounds, (rounds, count), generator=generator)
    return values[:, drawn].quantile(0.5, dim=1)


def interval(samples: torch.Tensor, confidence: float = 0.95) -> tuple[float, float]:
    """The central interval that holds this share of the samples."""
    edges = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=samples.dtype)
    low, high = samples.quantile(edges).tolist()
    return low, high


@dataclass(frozen=True)
class Ratio:
    """Of two medians of the same rounds, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def ratio(numerator: Timing, denominator: Timing) -> Ratio:
    columns = [numerator.seconds, denominator.seconds]
    rounds = shared_rounds(columns)
    above, below = (median(column[:rounds]) for column in columns)
    drawn = resampled_medians(columns)
    return Ratio(above / below, *interval(drawn[0] / drawn[1]))


def reference_workload(device: str) -> Call:
    """The same work every time, a matrix product of a few milliseconds on one core."""
    a, b = torch.ones(2, 512, 512, device=device)
    return lambda: torch.mm(a, b)


def copy_bandwidth(nbytes: int, device: str) -> float:
    """Bytes read and written per second by ``Tensor.copy_`` between arrays of this size."""
    source = torch.zeros(nbytes // 4, device=device)
    target = torch.ones_like(source)
    return 2 * nbytes / _best(lambda: target.copy_(source), device)


def matmul_rate(size: int, device: str) -> float:
    """Floating-point operations per second of a square matrix product in float32.

    The faster of the libraries that PyTorch brings along: MKL, which ``torch.mm`` calls, reaches
    half the speed of oneDNN on processors that Intel did not make.
    """
    a, b = torch.ones(2, size, size, device=device)
    products: list[Call] = [lambda: torch.mm(a, b)]
    if device == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return 2 * size**3 / min(_best(product, device) for product in products)


def _best(call: Call, device: str) -> float:
    call()
    return min(interleaved({"it": call}, rounds=(9, 9), device=device)["it"].seconds)
