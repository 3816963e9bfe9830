"""The operators on the simulated GPU: the same signatures as ``wgan_fast.ops``, on CPU tensors."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from wgan_fast.ops._layout import compute_dtype, empty_packed_like

from .build import load

_NAN_BYTE = 0xFF
_MASK = 2**64 - 1


class SimulatedGpu:
    """Runs the kernels of csrc/cuda on the CPU.

    Args:
        mode: "plain" or "trace".
        max_blocks: the largest grid; a small one makes blocks go on to further work.
        seed_on_device: pass the seed as memory that the kernel reads, not as a number.
        shift: let the outputs begin that many elements after an aligned address.
    """

    def __init__(
        self,
        mode: str = "plain",
        *,
        max_blocks: int = 65536,
        seed_on_device: bool = False,
        shift: int = 0,
    ):
        self.module: ModuleType = load(mode)
        self.max_blocks = max_blocks
        self.seed_on_device = seed_on_device
        self.shift = shift
        self.ticket = torch.zeros(1, dtype=torch.int32)
        # Whoever looks at what the kernels touch is told of every tensor that they are given.
        self.on_tensor: Callable[[Tensor], None] = lambda tensor: None

    def interpolate(self, real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
        return self._interpolate(real, fake, self._given(epsilon))

    def random_interpolate(
        self, real: Tensor, fake: Tensor, seed: Tensor, first_sample: int
    ) -> Tensor:
        return self._interpolate(real, fake, self._drawn(seed, first_sample))

    def interpolate_backward(self, grad: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        return self._interpolate_backward(grad, self._given(epsilon))

    def random_interpolate_backward(
        self, grad: Tensor, seed: Tensor, first_sample: int
    ) -> tuple[Tensor, Tensor]:
        return self._interpolate_backward(grad, self._drawn(seed, first_sample))

    def norm_penalty(
        self,
        gradients: Tensor,
        target: float,
        one_sided: bool,
        power: float,
        scale: float,
        reduce: bool,
    ) -> tuple[Tensor, Tensor]:
        m, size, rows = self.module, self._size(gradients), self._rows(gradients)
        settings = m.Settings(target, one_sided, power, scale, reduce)
        norms = self._vector(gradients, (len(gradients),))
        penalty = self._vector(gradients, () if reduce else (len(gradients),))
        workspace = self._memory(m.workspace_bytes(size, rows, settings))
        m.norm_penalty(
            *(size, rows, self._address(penalty), self._address(norms), settings),
            *(self._address(workspace), self._address(self.ticket)),
        )
        assert self.ticket.item() == 0, "the last block must leave the ticket at zero"
        return penalty, norms

    def norm_penalty_backward(
        self,
        gradients: Tensor,
        norms: Tensor,
        grad_penalty: Tensor,
        grad_norms: Tensor | None,
        target: float,
        one_sided: bool,
        power: float,
        scale: float,
        reduce: bool,
    ) -> Tensor:
        out = self._output(gradients)
        if gradients.numel() > 0:
            self.module.norm_penalty_backward(
                *(self._size(gradients), self._rows(gradients), self._address(norms)),
                *(self._address(grad_penalty), self._address(grad_norms), self._address(out)),
                self.module.Settings(target, one_sided, power, scale, reduce),
            )
        return out

    def _interpolate(self, real: Tensor, fake: Tensor, epsilon: Any) -> Tensor:
        out = self._output(real)
        if real.numel() > 0:
            self.module.interpolate(
                *(self._size(real), self._rows(real), self._rows(fake)),
                *(self._address(out), epsilon),
            )
        return out

    def _interpolate_backward(self, grad: Tensor, epsilon: Any) -> tuple[Tensor, Tensor]:
        outs = self._output(grad), self._output(grad)
        if grad.numel() > 0:
            self.module.interpolate_backward(
                *(self._size(grad), self._rows(grad), *map(self._address, outs), epsilon)
            )
        return outs

    def _given(self, epsilon: Tensor) -> Any:
        return self.module.EpsilonSource(self._address(epsilon), 0, 0, 0)

    def _drawn(self, seed: Tensor, first_sample: int) -> Any:
        if self.seed_on_device:
            return self.module.EpsilonSource(0, 0, self._address(seed), first_sample)
        return self.module.EpsilonSource(0, int(seed) & _MASK, 0, first_sample)

    def _size(self, x: Tensor) -> Any:
        dtype = str(x.dtype).removeprefix("torch.")
        return self.module.Size(dtype, len(x), x.numel() // max(len(x), 1), self.max_blocks)

    def _rows(self, x: Tensor) -> Any:
        return self.module.Input(self._address(x), x.stride(0))

    def _address(self, x: Tensor | None) -> int:
        if x is None:
            return 0
        self.on_tensor(x)
        return x.data_ptr()

    def _memory(self, nbytes: int) -> Tensor:
        return torch.full((nbytes,), _NAN_BYTE, dtype=torch.uint8)

    def _output(self, x: Tensor) -> Tensor:
        """Packed like ``x`` and full of NaN, ``shift`` elements after an aligned address."""
        like = empty_packed_like(x)
        memory = self._memory((x.numel() + self.shift) * x.element_size()).view(x.dtype)
        return memory.as_strided(like.shape, like.stride(), self.shift)

    def _vector(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return torch.full(shape, torch.nan, dtype=compute_dtype(like.dtype))
