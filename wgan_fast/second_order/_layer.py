"""A kind of layer whose second order is computed in another way than PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.overrides import TorchFunctionMode

from .._torch_internals import checkpoint_frames
from ._thresholds import thresholds_apply

#: Called with one of PyTorch's functions and the arguments that it was called with. Returns what
#: ``Layer.call`` takes, or None where that call is left to PyTorch.
Read = Callable[..., "tuple[Any, ...] | None"]


@dataclass(frozen=True)
class Layer:
    """Which of PyTorch's functions are replaced, how their arguments are read, and from when on.

    Args:
        name: as the documentation calls it.
        functions: PyTorch's functions, each with what reads its arguments.
        call: computes the layer from what was read.
        work: about how much a call takes, from what was read: multiplications, or elements.
        least_work: the work from which on replacing it pays; 0 where it always does.
    """

    name: str
    functions: Mapping[Any, Read]
    call: Callable[..., Any]
    work: Callable[..., int] = lambda *_: 0
    least_work: int = 0


class Replacing(TorchFunctionMode):
    """While it is entered, this thread's calls of some functions go to their layers.

    What a function that is not replaced costs in addition is one look into a dictionary, about two
    microseconds in all. A part of the critic under ``torch.utils.checkpoint`` is computed again
    with the same layers.

    Args:
        layers: whose functions are replaced.
        always: whether also calls with less than a layer's ``least_work`` are.
    """

    def __init__(self, layers: Iterable[Layer], always: bool | None = None) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._always = not thresholds_apply() if always is None else always
        self._of = {function: layer for layer in self._layers for function in layer.functions}
        #: The names of the layers that were called, and the most work of one call of each.
        self.called: set[str] = set()
        self.largest_work: dict[str, int] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        layer = self._of.get(func)
        if layer is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        return self._replaced(layer, func, args, kwargs or {})

    def _replaced(
        self, layer: Layer, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.called.add(layer.name)
        try:
            read = layer.functions[func](func, *args, **kwargs)
        except (TypeError, ValueError):
            read = None  # PyTorch says better what is wrong with them
        if read is None or not self._pays(layer, read):
            return func(*args, **kwargs)
        for frame in checkpoint_frames():
            if not isinstance(frame.recompute_fn, _ComputeAlike):
                frame.recompute_fn = _ComputeAlike(frame.recompute_fn, self._layers, self._always)
        return layer.call(*read)

    def _pays(self, layer: Layer, read: tuple[Any, ...]) -> bool:
        if self._always or not layer.least_work:
            return True
        work = layer.work(*read)
        self.largest_work[layer.name] = max(self.largest_work.get(layer.name, 0), work)
        return work >= layer.least_work


class _ComputeAlike:
    """Computes a checkpointed part of the critic again, with the layers of the first time.

    It happens in a backward pass, when the critic was left long ago; with PyTorch's own functions
    other tensors would be saved than the first time, which is an error.
    """

    def __init__(self, compute: Callable[..., None], layers: tuple[Layer, ...], always: bool):
        self._compute = compute
        self._layers = layers
        self._always = always

    def __call__(self, *args: Any) -> None:
        with Replacing(self._layers, self._always):
            self._compute(*args)
