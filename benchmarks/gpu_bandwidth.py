"""Times every CUDA kernel against the copy bandwidth of the same run.

    python -m benchmarks.gpu_bandwidth FOLDER      writes kernels.json and kernels.md

Each measurement is a CUDA event before and one after the call, with the L2 cache flushed first;
kernels take turns, and the median counts. Bytes are the least that the operator can move. The
textbook's expression for the same result is timed beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import wgan_fast.ops  # noqa: F401 - defines the operators
from tools import pages

from .contestants import textbook
from .timing import Call, interleaved

ROUNDS, WARM_UP = 30, 5
SHAPES = [(64, 12288), (256, 49152), (1024, 262144), (65536, 2), (65536, 784), (4, 2**24)]
DTYPES = (torch.float32, torch.bfloat16)
SETTINGS = (1.0, False, 2.0, 10.0, True)


@dataclass(frozen=True)
class Result:
    operator: str
    dtype: str
    batch: int
    dim: int
    bytes: int
    microseconds: float
    copy_microseconds: float  # of a copy that moves as many bytes
    textbook_microseconds: float

    @property
    def gigabytes_per_second(self) -> float:
        return self.bytes / self.microseconds / 1e3


def microseconds(calls: dict[str, Call]) -> dict[str, float]:
    """The median time of each call on the current stream, in turns, each with a cold L2 cache."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    junk = torch.empty(4 * l2, dtype=torch.uint8, device="cuda")
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    timings = interleaved(
        calls, rounds=(ROUNDS, ROUNDS), least=0.0, device="cuda", before=junk.zero_
    )
    return {name: timing.median * 1e6 for name, timing in timings.items()}


def _copy_of(nbytes: int) -> Call:
    source = torch.empty(nbytes // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def operators(batch: int, dim: int, dtype: torch.dtype) -> dict[str, tuple[int, Call, Call]]:
    """Each operator: its least bytes, itself, and the textbook's way."""
    namespace = torch.ops.wgan_fast
    real, fake = torch.randn(2, batch, dim, device="cuda", dtype=dtype)
    seed, one = torch.tensor(5), torch.ones((), device="cuda")
    _, norms = namespace.norm_penalty(real, *SETTINGS)
    array = batch * dim * dtype.itemsize

    def textbook_mix() -> Tensor:
        factors = torch.rand(batch, 1, device="cuda", dtype=dtype)
        return textbook.interpolate(real, fake, factors)

    epsilon = torch.rand(batch, 1, device="cuda", dtype=dtype)
    unit = (2 * (norms - 1) / norms).to(dtype).unsqueeze(1)
    return {
        "random_interpolate": (
            *(3 * array, lambda: namespace.random_interpolate(real, fake, seed, 0)),
            textbook_mix,
        ),
        "random_interpolate_backward": (
            *(3 * array, lambda: namespace.random_interpolate_backward(real, seed, 0)),
            lambda: (epsilon * real, (1 - epsilon) * real),
        ),
        "norm_penalty": (
            *(array, lambda: namespace.norm_penalty(real, *SETTINGS)),
            lambda: textbook.norm_penalty(real),
        ),
        "norm_penalty_backward": (
            2 * array,
            lambda: namespace.norm_penalty_backward(real, norms, one, None, *SETTINGS),
            lambda: unit * real,
        ),
        "activation_gradients": (
            *(5 * array, lambda: namespace.activation_gradients(real, fake, real, "silu", [])),
            lambda: textbook.silu_gradients(real, fake, real),
        ),
    }


def measure_all() -> list[Result]:
    results = []
    free = torch.cuda.mem_get_info()[0]
    for batch, dim in SHAPES:
        for dtype in DTYPES:
            if 12 * batch * dim * dtype.itemsize > free:
                print(f"{batch} x {dim} {dtype} does not fit")
                continue
            for name, (nbytes, ours, theirs) in operators(batch, dim, dtype).items():
                with torch.no_grad():
                    times = microseconds(
                        {"ours": ours, "copy": _copy_of(nbytes), "textbook": theirs}
                    )
                short = str(dtype).removeprefix("torch.")
                results.append(
                    Result(
                        name,
                        short,
                        batch,
                        dim,
                        nbytes,
                        *(times[k] for k in ("ours", "copy", "textbook")),
                    )
                )
    return results


def report(results: list[Result]) -> str:
    return pages.table(
        ["operator", "type", "rows", "us", "GB/s", "of the copy", "textbook / ours"],
        [
            (
                *(f"`{r.operator}`", r.dtype, f"{r.batch} x {r.dim}", f"{r.microseconds:.1f}"),
                f"{r.gigabytes_per_second:.0f}",
                f"{r.copy_microseconds / r.microseconds:.0%}",
                f"{r.textbook_microseconds / r.microseconds:.1f}",
            )
            for r in results
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    results = measure_all()
    folder.joinpath("kernels.json").write_text(json.dumps([asdict(r) for r in results], indent=1))
    folder.joinpath("kernels.md").write_text(report(results) + "\n")
    print(report(results))


if __name__ == "__main__":
    main()
