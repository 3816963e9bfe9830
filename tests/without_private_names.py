"""Takes PyTorch's private names away, one after the other, and compares penalties nevertheless.

    python -m tests.without_private_names        # prints {name: what went wrong, or null} as JSON

Each name is taken away in a fork of this process, before ``wgan_fast`` is imported there.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch._dynamo  # so that what PyTorch imports late does not miss a name
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

#: PyTorch itself does not work without these: they are back once they have been looked for.
NEEDED = {
    "_subclasses.fake_tensor.FakeTensor",
    "_subclasses.functional_tensor.FunctionalTensor",
    "_C._are_functorch_transforms_active",
    "_C._autograd._pop_saved_tensors_default_hooks",
    "_C._autograd._push_saved_tensors_default_hooks",
    "_C._autograd._top_saved_tensors_default_hooks",
    "_C._dispatch_has_kernel_for_dispatch_key",
    "_C._functions",
    "_C._nn",
    "autograd.forward_ad._current_level",
    "autograd.function.BackwardCFunction",
    "autograd.graph._engine_run_backward",
    "nn.modules._functions.BackwardHookFunction",
    "utils._pytree.tree_flatten",
    "utils._pytree.tree_map_only",
    "utils.hooks.RemovableHandle.next_id",
}
INTERNALS = "wgan_fast._torch_internals"
FILE = Path(__file__).parents[1] / "wgan_fast" / "_torch_internals.py"


def look_up() -> ModuleType:
    """The file that looks the names up, without the rest of the package."""
    spec = importlib.util.spec_from_file_location(INTERNALS, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[INTERNALS] = module
    spec.loader.exec_module(module)
    return module


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.score = nn.Linear(3, 12), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.enter(x).chunk(3, -1)
        return self.score(F.scaled_dot_product_attention(q, k, v).mean(1))


def critics() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Critics that use all there is, and the shape of their samples."""
    return {
        "mlp": (nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), (3,)),
        "dcgan": (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3, 2, 1),
                nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1),
            ),
            (2, 8, 8),
        ),
        "attention": (Attention(), (5, 3)),
        "lstm": (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), (3,)),
    }  # fmt: skip


def textbook(critic: nn.Module, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    factors = epsilon.view(-1, *[1] * (real.dim() - 1))
    x = (factors * real + (1 - factors) * fake).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        scores = critic(x)
    (gradients,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
    return 10 * ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean()


@dataclass
class Expected:
    """A critic, where to penalise it, and what the textbook says there."""

    name: str
    critic: nn.Module
    samples: tuple[Tensor, Tensor, Tensor]
    results: list[Tensor | None]


def results_of(critic: nn.Module, penalty: Tensor) -> list[Tensor | None]:
    critic.zero_grad()
    penalty.backward()
    return [penalty.detach(), *[p.grad for p in critic.parameters()]]


def expected() -> Iterator[Expected]:
    for name, (critic, shape) in critics().items():
        critic = critic.double()
        real, fake = torch.randn(2, 4, *shape, dtype=torch.float64)
        samples = real, fake, torch.rand(4, dtype=torch.float64)
        yield Expected(name, critic, samples, results_of(critic, textbook(critic, *samples)))


def compare(case: Expected, chunk_size: int | None) -> None:
    from wgan_fast import fast_gradient_penalty
    from wgan_fast.second_order import without_thresholds

    real, fake, epsilon = case.samples
    with without_thresholds():
        penalty = fast_gradient_penalty(
            case.critic, real, fake, epsilon=epsilon, chunk_size=chunk_size
        )
    check(case, penalty)


def compare_captured(case: Expected) -> None:
    from wgan_fast import captured, fast_gradient_penalty

    def penalty(samples: dict[str, Tensor]) -> Tensor:
        return fast_gradient_penalty(case.critic, **samples)

    loss = captured(penalty, executor="replay")
    for _ in range(2):
        check(case, loss(dict(zip(("real", "fake", "epsilon"), case.samples, strict=True))))


def check(case: Expected, penalty: Tensor) -> None:
    for ours, theirs in zip(results_of(case.critic, penalty), case.results, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs, f"{case.name}: {ours} is not {theirs}"
        else:
            assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14), case.name


def without(path: str, cases: list[Expected]) -> None:
    """Runs the comparison without a name."""
    *parents, last = path.split(".")
    owner: Any = torch
    for parent in parents:
        owner = getattr(owner, parent)
    taken = getattr(owner, last)
    delattr(owner, last)
    look_up()
    if path in NEEDED:
        setattr(owner, last, taken)
    for case in cases:
        compare(case, None)
        compare(case, 2)
        compare_captured(case)


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What a function returns, or its traceback, from a copy of this process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = function()
        except BaseException:
            result = traceback.format_exc()
        with os.fdopen(write, "w") as file:
            json.dump(result, file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        result = json.load(file)
    os.waitpid(child, 0)
    return result


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = list(expected())
    names = in_a_fork(lambda: list(look_up().LOOKED_UP))
    results = {path: in_a_fork(functools.partial(without, path, cases)) for path in names}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
