"""Whether samples meet in a critic: then slices of a batch are not the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .seen import Seen
from .warn import warn

#: The critics that were looked at.
_watched = Seen()


def watched(
    critic: Callable[..., Any], module: nn.Module | None, chunk_size: int
) -> Callable[..., Any]:
    """The critic, which at its first call looks whether the samples of a slice meet in it.

    Args:
        critic: what is called with a slice of the batch.
        module: whose layers are named, if it is known.
        chunk_size: the number of samples in the slice.
    """
    if chunk_size == 1 or not _watched.is_new(critic if module is None else module):
        return critic
    return _Watched(critic, module)


class _Watched:
    """A critic of which the next call is looked at, and the later ones are not."""

    def __init__(self, critic: Callable[..., Any], module: nn.Module | None) -> None:
        self._critic, self._module = critic, module
        self._done = False

    def __call__(self, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._done:
            return self._critic(points, *args, **kwargs)
        self._done = True
        outputs: list[tuple[str, nn.Module, Tensor]] = []
        with _recorded(self._module, outputs):
            scores = self._critic(points, *args, **kwargs)
        if isinstance(scores, Tensor) and scores.dim() > 0 and len(scores) == len(points):
            _look(scores, points, outputs, self._module)
        return scores


def _look(
    scores: Tensor,
    points: Tensor,
    outputs: list[tuple[str, nn.Module, Tensor]],
    module: nn.Module | None,
) -> None:
    rows = _rows_of_first(scores, points)
    if rows in ([], [0]) or _is_a_pack(rows, len(points)):
        return
    where = next(
        ((name, part) for name, part, out in outputs if _rows_of_first(out, points) not in ([], [0])),
        None,
    )
    if where is None:
        if module is not None and any(map(_has_own_warning, module.modules())):
            return
        place = ""
    else:
        name, part = where
        if _has_own_warning(part):
            return
        place = f" in {name or 'the critic itself'} ({type(part).__name__})"
    warn(
        f"the critic's score of a sample depends on other samples of the batch: they meet{place}. "
        "With chunk_size they meet only within a slice, so that penalty and gradients are not those "
        "of the whole batch. Leave chunk_size out, or use a layer that treats each sample by itself."
    )


def _has_own_warning(part: nn.Module) -> bool:
    return isinstance(part, _BatchNorm) and part.training


def _rows_of_first(output: Tensor, points: Tensor) -> list[int]:
    """The points that the first row of an output depends on; none where that cannot be told."""
    if not output.requires_grad:
        return []
    try:
        (gradient,) = torch.autograd.grad(
            output[0].sum(), points, retain_graph=True, allow_unused=True
        )
    except RuntimeError:  # a backward pass that works only once, as in a compiled critic
        return []
    if gradient is None:
        return []
    sizes = gradient.detach().reshape(len(points), -1).abs().amax(1)
    if not bool(sizes.isfinite().all()):
        return []
    return sizes.nonzero().flatten().tolist()


def _is_a_pack(rows: list[int], chunk_size: int) -> bool:
    """Whether samples meet in packs of which no slice cuts one in two (PacGAN)."""
    pack = len(rows)
    return rows == list(range(pack)) and pack < chunk_size and chunk_size % pack == 0


@contextmanager
def _recorded(
    module: nn.Module | None, outputs: list[tuple[str, nn.Module, Tensor]]
) -> Iterator[None]:
    """A context in which the outputs of a module's layers are noted in the order of their calls.

    Not those of compiled modules, which would be compiled anew.
    """
    handles = []
    parts = [] if module is None else list(module.named_modules())
    if not any(_is_compiled(part) for _, part in parts):
        for name, part in parts:
            handles.append(part.register_forward_hook(_noting(name, outputs)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _noting(name: str, outputs: list[tuple[str, nn.Module, Tensor]]) -> Callable[..., None]:
    def note(part: nn.Module, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor) and first.dim() > 0:
            outputs.append((name, part, first))

    return note


def _is_compiled(part: nn.Module) -> bool:
    scripted = isinstance(part, torch.jit.ScriptModule)
    return scripted or getattr(part, "_compiled_call_impl", None) is not None or (
        type(part).__module__.startswith("torch._dynamo")
    )
