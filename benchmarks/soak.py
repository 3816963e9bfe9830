"""Many penalties of one critic: its memory stays flat, and no graph or record of a critic piles up.

    python -m benchmarks.soak                      # 100 000 calls each, eager, in slices and lazily
    python -m benchmarks.soak --calls 2000

Prints a line for each way, with the resident memory of the process after a tenth of the calls, and
its growth from there to the end; exits with 1 where that is more than ``--most`` MiB.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from wgan_fast import Lazy, fast_gradient_penalty

BATCH = 16
Penalty = Callable[..., Tensor]


def ways() -> dict[str, Penalty]:
    """By name, what is called in place of ``fast_gradient_penalty``."""
    return {
        "eager": fast_gradient_penalty,
        "in slices": partial(fast_gradient_penalty, chunk_size=BATCH // 2),
        "lazy": partial(Lazy(every=4), fast_gradient_penalty),
    }


def resident() -> float:
    """The memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(penalty: Penalty, calls: int) -> tuple[float, float]:
    """The memory after a tenth of the calls, each with a step of the critic, and after all."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(critic.parameters(), lr=1e-4)
    begun = 0.0
    for call in range(calls):
        if call == calls // 10:
            begun = resident()
        real, fake = torch.randn(2, BATCH, 2)
        optimizer.zero_grad()
        penalty(critic, real, fake).backward()
        optimizer.step()
    return begun, resident()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--most", type=float, default=4.0, help="MiB of growth (4)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    grown = []
    for name, penalty in ways().items():
        began = time.perf_counter()
        before, after = soak(penalty, given.calls)
        grown.append(after - before)
        print(
            f"{name}: {given.calls} calls in {time.perf_counter() - began:.0f} s, "
            f"{before:.1f} MiB, then {after - before:+.2f} MiB",
            flush=True,
        )
    return int(max(grown) > given.most)


if __name__ == "__main__":
    raise SystemExit(main())
