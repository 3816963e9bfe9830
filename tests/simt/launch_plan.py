"""Which kernels one penalty launches outside the critic, and in which order.

    python -m tests.simt.launch_plan            prints the plan
    python -m tests.simt.launch_plan --write    puts it into docs/cuda.md

Every operator that PyTorch dispatches is recorded; those of wgan_fast are run on the simulated GPU,
which tells what it launched. Of PyTorch's own operators each that computes something is one launch
on a GPU. What the critic itself launches is counted in a run without a penalty, and left out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simt.backend import SimulatedGpu
from tools import pages
from wgan_fast import fast_gradient_penalty

BATCH, DIM = 64, 3 * 64 * 64
#: Operators that allocate or only look at memory in another way.
FREE = ("empty", "view", "_unsafe_view", "detach", "alias", "is_same_size", "set_", "resize_")


@dataclass(frozen=True)
class Launch:
    operator: str
    kernel: str
    blocks: int
    threads: int
    bytes: int


def _bytes(values: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(values) if isinstance(t, Tensor))


class Recorder(TorchDispatchMode):
    """Records the launches of wgan_fast, and the names of PyTorch's operators that launch."""

    def __init__(self) -> None:
        super().__init__()
        self.gpu = SimulatedGpu()
        self.launches: list[Launch] = []
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if func.namespace != "wgan_fast":
            result = func(*args, **(kwargs or {}))
            if self._launches(func, result):
                self.operators[name] += 1
            return result
        self.gpu.module.take_launches()
        result = getattr(self.gpu, name)(*args)
        for kernel, blocks, threads in self.gpu.module.take_launches():
            used = _bytes([args, result])
            self.launches.append(Launch(name, kernel, blocks, threads, used))
        return result

    @staticmethod
    def _launches(func: Any, result: Any) -> bool:
        if func.is_view or func.overloadpacket.__name__.startswith(FREE):
            return False
        # The seed stays on the host; all that is computed on the GPU are floating-point numbers.
        return any(isinstance(t, Tensor) and t.is_floating_point() for t in tree_leaves(result))


def record(run: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Recorder:
    """Records a loss and its gradients on a small smooth critic, in which nothing can be pruned."""
    critic = nn.Sequential(nn.Linear(DIM, 4), nn.Tanh(), nn.Linear(4, 1))
    real, fake = torch.randn(2, BATCH, DIM)
    with Recorder() as recorder:
        torch.autograd.grad(run(critic, real, fake), list(critic.parameters()), allow_unused=True)
    return recorder


def gradient_of(critic: nn.Module, x: Tensor) -> Tensor:
    return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]


def no_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's own part: its gradient, and a derivative of that."""

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, g: Tensor) -> Tensor:
            ctx.save_for_backward(g)
            return g.detach()[0, 0]

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return ctx.saved_tensors[0].detach()

    return Through.apply(gradient_of(critic, real.detach().requires_grad_()))


def textbook(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """What everybody writes."""
    epsilon = torch.rand(len(real), 1)
    x = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    norms = gradient_of(critic, x).norm(2, dim=1)
    return 10 * ((norms - 1) ** 2).mean()


def ours(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return fast_gradient_penalty(critic, real, fake)


def others(recorder: Recorder) -> Counter[str]:
    """PyTorch's own launches besides those of the critic."""
    return recorder.operators - record(no_penalty).operators


def report() -> str:
    """The plan, for docs/cuda.md."""
    mine, theirs = record(ours), others(record(textbook))
    plan = pages.table(
        ["", "operator", "kernel", "grid", "MB"],
        [
            (
                i,
                f"`{x.operator}`",
                f"`{x.kernel}`",
                f"{x.blocks} x {x.threads}",
                f"{x.bytes / 1e6:.1f}",
            )
            for i, x in enumerate(mine.launches, start=1)
        ],
    )
    extra = others(mine)
    names = ", ".join(f"{n} {name}" for name, n in sorted(theirs.items()))
    return (
        f"Batch {BATCH} x {DIM}, float32, forward and backward:\n\n{plan}\n\n"
        f"Of PyTorch, besides the critic: {extra.total()} launches. "
        f"The textbook expression: {theirs.total()} launches ({names})."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the plan into docs/cuda.md")
    if parser.parse_args().write:
        pages.write("launches", report())
    else:
        print(report())
