"""Whether samples meet in a critic: then slices of a batch are not the batch."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .._torch_internals import is_compiled
from .._tracing import can_look, values_of
from .seen import Seen
from .warn import warn

#: The name of a layer, the layer, and what it returned.
Output = tuple[str, nn.Module, Tensor]

#: Samples meet in these as well, of which there is another warning.
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

#: The critics that were looked at.
_watched = Seen()


@contextmanager
def watched(
    critic: Callable[..., Any], module: nn.Module | None, points: Tensor
) -> Iterator[Callable[..., Any]]:
    """A context with the critic, which at its first call warns if the samples meet in it.

    It is called no further for that, but a gradient of its scores is computed.

    Args:
        critic: what is called with a slice of the batch.
        module: whose layers are named, if it is known.
        points: the slice.
    """
    if len(points) == 1 or not can_look(points) or _watched.has(critic, module):
        yield critic
        return
    _watched.add(critic, module)
    watch = _Watched(critic)
    parts = [] if module is None else list(module.named_modules())
    hooks = []
    if not any(_is_compiled(part) for _, part in parts):
        hooks = [part.register_forward_hook(watch.note(name)) for name, part in parts]
    elif any(isinstance(part, _BATCH_NORM) and part.training for _, part in parts):
        yield critic
        return
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


class _Watched(functools.partial):
    """A critic whose next call is looked at, and its later ones are not."""

    def __init__(self, critic: Callable[..., Any]) -> None:
        self._outputs: list[Output] | None = []

    def __call__(self, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        scores = super().__call__(points, *args, **kwargs)
        if self._outputs is not None:
            if isinstance(scores, Tensor) and _has_rows(scores, len(points)):
                _look(scores, points, self._outputs)
            self._outputs = None
        return scores

    def note(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """A hook for a layer, which notes its output."""

        def note(layer: nn.Module, _: Any, output: Any) -> None:
            first: Any = output[0] if isinstance(output, tuple | list) and output else output
            if self._outputs is not None and isinstance(first, Tensor) and first.dim() > 0:
                self._outputs.append((name, layer, first))

        return note


def _has_rows(scores: Tensor, count: int) -> bool:
    """Whether the first dimension is that of the samples, and surely no other."""
    return scores.dim() > 0 and len(scores) == count and count not in scores.shape[1:]


def _look(scores: Tensor, points: Tensor, outputs: list[Output]) -> None:
    rows = _rows_of_first([scores], points)
    if not _meet(rows) or _is_a_pack(rows, len(points)):
        return
    # The first of the layers at which samples have met: with any later one they have as well.
    first = bisect.bisect_left(
        range(len(outputs)),
        True,
        key=lambda last: _meet(_rows_of_first([out for *_, out in outputs[: last + 1]], points)),
    )
    place = ""
    if first < len(outputs):
        name, layer, _ = outputs[first]
        if isinstance(layer, _BATCH_NORM):
            return
        place = f" in {name or 'the critic itself'} ({type(layer).__name__})"
    warn(
        f"the critic's score of a sample depends on other samples of the batch: they meet{place}. "
        "With chunk_size they meet only within a slice, so that penalty and gradients are not "
        "those of the whole batch. Leave chunk_size out, or take a layer that treats each sample "
        "alone."
    )


def _rows_of_first(outputs: list[Tensor], points: Tensor) -> list[int]:
    """The points that the first rows of some outputs depend on; none where that is unknown."""
    firsts = [output[0].sum() for output in outputs if output.requires_grad and len(output) > 0]
    if not firsts:
        return []
    try:
        (gradient,) = torch.autograd.grad(firsts, points, retain_graph=True, allow_unused=True)
    except RuntimeError:  # a backward pass that works only once, as that of a compiled critic
        return []
    if gradient is None:
        return []
    sizes = values_of(gradient.reshape(len(points), -1).abs().amax(1))
    return sizes.nonzero().flatten().tolist() if bool(sizes.isfinite().all()) else []


def _meet(rows: list[int]) -> bool:
    return rows not in ([], [0])


def _is_a_pack(rows: list[int], chunk_size: int) -> bool:
    """Whether samples meet in packs of which no slice cuts one in two (PacGAN)."""
    pack = len(rows)
    return rows == list(range(pack)) and pack < chunk_size and chunk_size % pack == 0


def _is_compiled(part: nn.Module) -> bool:
    """Whether hooks of it are not called, or would have it compiled anew."""
    return isinstance(part, torch.jit.ScriptModule) or is_compiled(part)
