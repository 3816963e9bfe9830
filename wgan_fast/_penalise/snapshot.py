"""What a critic's call begins with, kept so that another call can begin alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from .._tracing import can_look, is_traced
from .randomness import Randomness
from .seen import Seen
from .state import State

T = TypeVar("T")


class Snapshot:
    """The states of the random generators and of the critic, as they are now.

    Two calls of a critic that begin at the same snapshot drop the same units, and see the same
    estimates in a spectral normalisation.

    Args:
        module: whose state to keep, if it is known; see :class:`State`.
        samples: of PyTorch's random generators, those of the CPU are kept, of the device that these
            lie on, and of the devices of the module's parameters.

    Raises:
        RuntimeError: where calls are recorded, to be repeated: what is set back here would not be.
    """

    def __init__(self, module: nn.Module | None, samples: Tensor) -> None:
        if is_traced(samples):
            raise RuntimeError(_NOT_RECORDED)
        self._module = module
        self._samples = samples.detach()[:0]  # for its device
        self.state = State(module)
        self._randomness = self.randomness_now()

    def restore(self, *, randomness: bool = True) -> None:
        """Sets the critic back, and the generators unless told otherwise."""
        self.state.restore()
        if randomness:
            self._randomness.restore()

    def randomness_now(self) -> Randomness:
        """The states of the generators at another time than the snapshot's."""
        parameters = [] if self._module is None else list(self._module.parameters())
        return Randomness([self._samples, *parameters], self.state.generators)

    @contextmanager
    def once_more(self, randomness: Randomness) -> Iterator[None]:
        """A context that begins at this snapshot, but with another randomness, and leaves no trace.

        In it the critic's state lies in memory of its own, so that what a graph that is made there
        saves remains as it is.
        """
        now = Snapshot(self._module, self._samples)
        try:
            with self.state.in_other_memory():
                randomness.restore()
                yield
        finally:
            now.restore()


_NOT_RECORDED = (
    "chunk_size, finite differences and approximate_r1 call the critic several times, and set its "
    "state and the random generators back in between, which make_fx cannot record. "
    "Leave chunk_size out, take double_backward='pruned' or 'plain', and r1_penalty in place of "
    "approximate_r1; or call the penalty outside of the function that is recorded"
)

#: The critics whose first call may have set their weights.
_called = Seen()


def snapshot_and_call(
    module: nn.Module | None, samples: Tensor, call: Callable[[Snapshot], T]
) -> tuple[Snapshot, T]:
    """Calls the critic, and returns how things were before.

    A call that builds the critic (makes its layers, or sets its weights by the batch that it sees)
    is no beginning to return to: there the critic is called once more, and that is the call.
    """
    begin = Snapshot(module, samples)
    new = module is not None and can_look(samples) and not _called.has(module, module)
    before = _sums_of_weights(module) if new else []
    result = call(begin)
    after = _sums_of_weights(module) if new else []
    if before != after or not begin.state.is_built_alike():
        del result
        built = Snapshot(module, samples)
        result = call(built)
        if new and before != after != _sums_of_weights(module):
            del result  # it is no building, but what every call does
            begin.restore()
            result = call(begin)
        else:
            begin = built
    if new:
        _called.add(cast(nn.Module, module), module)
    return begin, result


def _sums_of_weights(module: Any) -> list[str]:
    """A number for each trainable parameter, as text, in which NaN equals itself."""
    return [
        str(parameter.detach().sum().item())
        for parameter in module.parameters()
        if parameter.requires_grad and type(parameter) is nn.Parameter and not parameter.is_meta
    ]
