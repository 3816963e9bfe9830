"""Random generators: which ones a function draws from, and whether it sets one to another state.

A graph draws on from where a generator is. A function that seeds one, or sets it back to draw the
same again, as checkpoints and finite differences do, cannot be told so by its operators.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import refuse


class GivenGenerators(TorchFunctionMode):
    """A mode that notes the generators that functions are given.

    Attributes:
        found: these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        generator = kwargs.get("generator") if kwargs else None
        if generator is not None and not any(generator is each for each in self.found):
            self.found.append(generator)
        return func(*args, **(kwargs or {}))


class Draws:
    """Follows the states of generators while a function is recorded.

    Args:
        generators: those that it is given; PyTorch's own are followed as well.
    """

    def __init__(self, generators: Iterable[Any]) -> None:
        devices = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
        followed = [torch.default_generator, *devices, *generators]
        self._begin = [(each, each.get_state()) for each in followed]
        self._states = {id(each): state for each, state in self._begin}

    def check(self, given: Any = None) -> None:
        """Every generator must be where the last draw has left it.

        Args:
            given: the generator of the draw that comes next, if it has one of its own.
        """
        if given is not None and not self._knows(given):
            raise refuse(
                "a torch.Generator is made in the function, which would be new at every call: make "
                "it outside."
            )
        for generator, _ in self._begin:
            if not _equal(generator.get_state(), self._states[id(generator)]):
                raise refuse(
                    "a random generator is set to another state: seeded, or set back to draw the "
                    "same again, as by a checkpoint or finite differences of what drops units. In "
                    "a graph, every draw is new. (Or another thread draws from it meanwhile: give "
                    "each thread a torch.Generator.)"
                )

    def _knows(self, given: Any) -> bool:
        # Operators get the same generator as another object.
        state = given.get_state()
        return any(_equal(state, each.get_state()) for each, _ in self._begin)

    def note(self) -> None:
        """Something was drawn."""
        self._states = {id(each): each.get_state() for each, _ in self._begin}

    def restore(self) -> None:
        """Sets the generators back to where they were."""
        for generator, state in self._begin:
            generator.set_state(state)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
