"""Lazy regularisation: the penalty at every k-th step, times k."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._being_captured import being_captured
from ._capture.errors import refuse
from ._penalise import checks, draws
from ._penalise.joint import first_tensor
from ._tracing import always_breaks_graphs


class Turns:
    """Counts steps, of which every k-th is a turn.

    Args:
        every: ``k``, at least 1.

    Raises:
        TypeError: if ``every`` is not an integer.
        ValueError: if it is below 1.
    """

    #: What a captured function with such a penalty depends on, besides the turn.
    _watched_by_captured: tuple[str, ...] = ("every",)

    def __init__(self, every: int = 1) -> None:
        _check_count(every, "every", least=1)
        self.every = every
        self.step = 0

    def is_turn(self) -> bool:
        """Whether this step is a turn; the first one is.

        Whoever takes the step counts it in ``step`` when it is done: one that fails is no step.

        Raises:
            RuntimeError: if the call is being captured, where each step would be like this one.
        """
        if self.every > 1 and being_captured():
            raise refuse(
                f"a penalty with every={self.every} is due at some steps only, which a graph "
                "cannot count: capture one function with it and one without, and count outside."
            )
        return self.step % self.every == 0

    def state_dict(self) -> dict[str, int]:
        """What a training run needs to go on: ``step`` and ``every``."""
        return {"step": self.step, "every": self.every}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from what :meth:`state_dict` returned.

        Raises:
            TypeError: if ``state`` is not a mapping, or its values are not integers.
            ValueError: if its keys are not "step" and "every", or its values are too small.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, but it is {state!r:.60}")
        if set(state) != {"step", "every"}:
            raise ValueError(
                f"state must hold 'step' and 'every', but its keys are {list(state)!r:.60}"
            )
        _check_count(state["step"], "step", least=0)
        _check_count(state["every"], "every", least=1)
        self.step, self.every = state["step"], state["every"]


class Lazy(Turns):
    r"""Computes a penalty at every k-th call only, and multiplies it by k there.

    .. math:: k \cdot penalty \text{ at the steps } 0, k, 2k, \dots, \qquad 0 \text{ in between}

    Over ``k`` steps the critic is pushed as much as it would be with a penalty at each of them, for
    a ``k``-th of the work. Each critic wants a ``Lazy`` of its own.

    StyleGAN2, where this is from, makes up in the optimiser for the steps that it merges: with
    :math:`c = k / (k + 1)`, the critic's Adam gets the learning rate :math:`c \cdot lr` and the
    betas :math:`\beta_1^c, \beta_2^c`.

    Args:
        every: ``k``, at least 1; 1 computes the penalty at each call.

    Attributes:
        step: how many calls there have been, without those that raised an error.
            :meth:`state_dict` and :meth:`load_state_dict` save it and bring it back, to resume a
            training run.

    Raises:
        TypeError: if ``every`` is not an integer, or the penalty is not a single tensor, as with
            ``return_norms=True``.
        ValueError: if ``every`` is below 1.

    Returns, when called with a penalty and its arguments: the penalty times ``k``, or a zero of the
    dtype, device and shape that the penalty would have.

    Gradients: those of the penalty, times ``k``. The zero in between can be differentiated like a
    penalty, which leaves the gradients of all parameters as they were.

    Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
    arXiv 1912.04958, section 3.1; ``k = 16`` for R1.

    Example:
        >>> from wgan_fast import r1_penalty
        >>> critic, real = torch.nn.Linear(2, 1), torch.randn(8, 2)
        >>> lazily = Lazy(every=16)
        >>> penalties = [lazily(r1_penalty, critic, real, gamma=10.0) for _ in range(32)]
        >>> [step for step, penalty in enumerate(penalties) if penalty != 0]
        [0, 16]
        >>> lazily.state_dict()
        {'step': 32, 'every': 16}
    """

    def __init__(self, every: int = 16) -> None:
        super().__init__(every)
        self._last: _Call | None = None

    @always_breaks_graphs
    def __call__(self, penalty: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """``every * penalty(*args, **kwargs)`` if it is its turn, otherwise a zero."""
        its_turn = self.is_turn()
        whole = functools.partial(penalty, *args, **kwargs)  # with what a partial was given before
        named = whole.keywords
        several = (*whole.args, named.get("real"), named.get("fake"))
        given = (*map(first_tensor, several), *named.values())
        samples = next((x for x in given if isinstance(x, Tensor)), None)
        value = self._penalty(whole, samples) if its_turn else self._zero(samples, named)
        self.step += 1
        return value

    def _penalty(self, whole: Callable[[], Tensor], samples: Tensor | None) -> Tensor:
        value = whole()
        if not isinstance(value, Tensor):
            raise TypeError(
                f"penalty must return one tensor, but it returned a {type(value).__name__}; "
                "leave return_norms=False"
            )
        self._last = _Call(_batch_of(samples), value.shape, value.dtype, value.device)
        return self.every * value

    def _zero(self, samples: Tensor | None, keywords: Mapping[str, Any]) -> Tensor:
        """What stands for the penalty between two turns; no leaf, as a penalty is none."""
        last = self._last or _Call(0, (), torch.float32, torch.device("cpu"))
        batch, shape, dtype, device = _batch_of(samples), last.shape, last.dtype, last.device
        if "reduction" in keywords:
            each = keywords["reduction"] == "none"
            shape = (draws.size_of_subset(keywords.get("subset") or 1.0, batch),) if each else ()
        elif shape and last.batch:
            shape = (draws.size_of_subset(shape[0] / last.batch, batch),)
        if samples is not None:
            dtype = torch.float64 if samples.dtype == torch.float64 else dtype
            device = samples.device
        return torch.zeros(shape, dtype=dtype, device=device, requires_grad=True).clone()


class _Call(NamedTuple):
    """The batch that a penalty was called with, and what it returned."""

    batch: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _batch_of(samples: Tensor | None) -> int:
    return samples.size(0) if samples is not None and samples.dim() > 0 else 0


def _check_count(value: Any, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but it is {checks.describe(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, but it is {value}")
