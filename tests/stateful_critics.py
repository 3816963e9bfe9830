"""Critics that change something in themselves whenever they are called, each in a way of its own.

What they keep enters their scores: two calls that do not begin alike do not score alike.
"""

from __future__ import annotations

import collections
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

numpy = __import__("numpy")  # of which the global generator counts, once it is loaded


class Estimating(nn.Module):
    """A linear layer with a spectral norm, estimated by one step a call; ``_read`` and ``_write``
    keep the estimate."""

    def __init__(self, size: int = 5, width: int = 8):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, size, dtype=torch.float64))
        self._init(F.normalize(torch.randn(width, dtype=torch.float64), dim=0))

    def _init(self, u: Tensor) -> None:
        self.u = u

    def _read(self) -> Tensor:
        return self.u

    def _write(self, u: Tensor) -> None:
        self.u = u

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            v = F.normalize(self.weight.t() @ self._read(), dim=0)
            self._write(F.normalize(self.weight @ v, dim=0))
        sigma = self._read().clone() @ (self.weight @ v)
        return F.silu(x @ (self.weight / sigma).t()).sum(1)


class Attribute(Estimating):
    pass


class BufferInPlace(Estimating):
    def _init(self, u):
        self.register_buffer("u", u)

    def _write(self, u):
        self.u.copy_(u)


class BufferAssigned(BufferInPlace):
    def _write(self, u):
        self.u = u


class BufferReplaced(BufferInPlace):
    def _write(self, u):
        del self.u
        self.register_buffer("u", u, persistent=False)


class BufferWithOtherData(BufferInPlace):
    def _write(self, u):
        self.u.data = u


class FrozenInPlace(Estimating):
    def _init(self, u):
        self.u = nn.Parameter(u, requires_grad=False)

    def _write(self, u):
        self.u.copy_(u)


class FrozenData(FrozenInPlace):
    def _write(self, u):
        self.u.data = u


class FrozenAssigned(FrozenInPlace):
    def _write(self, u):
        self.u = nn.Parameter(u, requires_grad=False)


class AttributeInPlace(Estimating):
    def _write(self, u):
        self.u.data.copy_(u)


class InNestedCollections(Estimating):
    def _init(self, u):
        self.memory = {"estimates": [collections.deque([u], maxlen=1)]}

    def _read(self):
        return self.memory["estimates"][0][0]

    def _write(self, u):
        self.memory["estimates"][0].append(u)


class InATuple(Estimating):
    def _init(self, u):
        self.memory = (u, None)

    def _read(self):
        return self.memory[0]

    def _write(self, u):
        self.memory[0].copy_(u)


class InAnArray(Estimating):
    def _init(self, u):
        self.u = u.numpy().copy()

    def _read(self):
        return torch.from_numpy(self.u.copy())

    def _write(self, u):
        self.u[:] = u.numpy()


class InAnUnregisteredModule(Estimating):
    def _init(self, u):
        self.others = [BufferInPlace()]

    def forward(self, x):
        return self.others[0](x) * self.weight.square().mean()


class Appearing(Estimating):
    def _init(self, u):
        pass

    def _read(self):
        return getattr(self, "u", torch.ones(len(self.weight), dtype=torch.float64))


class Trainable(Estimating):
    """The data of a trainable parameter are exchanged, and not marked as changed."""

    def forward(self, x):
        self.weight.data = self.weight.data * 0.9
        return F.silu(x @ self.weight.t()).sum(1)


class Counting(Estimating):
    """Numbers, text, sets and flags."""

    def _init(self, u):
        self.calls, self.text, self.even, self.past = 0, "", True, {0}

    def forward(self, x):
        self.calls += 1
        self.text += "."
        self.even = not self.even
        self.past.add(self.calls)
        scale = self.calls + len(self.text) + (not self.even) + len(self.past)
        return F.silu(x @ self.weight.t()).sum(1) * scale


class Toggling(Estimating):
    """The mode of a layer is changed from call to call."""

    def forward(self, x):
        self.train(not self.training)
        return F.silu(x @ self.weight.t()).sum(1) * (2.0 if self.training else 1.0)


class Drawing(Estimating):
    """Random numbers from everywhere: PyTorch, Python, NumPy, and generators of its own."""

    def _init(self, u):
        self.own = [
            torch.Generator().manual_seed(1), random.Random(2), numpy.random.default_rng(3),
            numpy.random.RandomState(4),
        ]  # fmt: skip

    def forward(self, x):
        torches, pythons, numpys, old = self.own
        noise = (
            torch.rand(()).item() + random.random() + numpy.random.rand() + pythons.random()
            + numpys.random() + old.rand() + torch.rand((), generator=torches).item()
        )  # fmt: skip
        return F.silu(x @ self.weight.t()).sum(1) * noise


class WithExpandedBuffer(BufferInPlace):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(1, 1, dtype=torch.float64).expand(1, 5))

    def forward(self, x):
        return super().forward(x - self.mean)


STATEFUL = [
    Attribute, BufferInPlace, BufferAssigned, BufferReplaced, BufferWithOtherData, FrozenInPlace,
    FrozenData, FrozenAssigned, AttributeInPlace, InNestedCollections, InATuple, InAnArray,
    InAnUnregisteredModule, Appearing, Trainable, Counting, Toggling, Drawing, WithExpandedBuffer,
]  # fmt: skip
