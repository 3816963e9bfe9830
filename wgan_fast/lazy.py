"""Lazy regularisation: the penalty at every k-th step, times k."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._penalise import checks


class Lazy:
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
        step: how many calls there have been. Save and set it to resume a training run.

    Raises:
        TypeError: if ``every`` is not an integer, or the penalty is not a single tensor, as with
            ``return_norms=True``.
        ValueError: if ``every`` is below 1.

    Gradients: those of the penalty, times ``k``. The zero in between has no graph.

    Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
    arXiv 1912.04958, section 3.1; ``k = 16`` for R1.

    Example:
        >>> from wgan_fast import r1_penalty
        >>> critic, real = torch.nn.Linear(2, 1), torch.randn(8, 2)
        >>> lazily = Lazy(every=16)
        >>> penalties = [lazily(r1_penalty, critic, real, gamma=10.0) for _ in range(32)]
        >>> [step for step, penalty in enumerate(penalties) if penalty != 0]
        [0, 16]
    """

    def __init__(self, every: int = 16) -> None:
        if isinstance(every, bool) or not isinstance(every, int):
            raise TypeError(f"every must be an integer, but it is {checks.describe(every)}")
        if every < 1:
            raise ValueError(f"every must be at least 1, but it is {every}")
        self.every = every
        self.step = 0

    def __call__(self, penalty: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """``every * penalty(*args, **kwargs)`` if it is its turn, otherwise a zero."""
        its_turn = self.step % self.every == 0
        self.step += 1
        if not its_turn:
            return torch.zeros(())  # on the CPU: it can be added to a number on any device
        value = penalty(*args, **kwargs)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"penalty must return one tensor, but it returned a {type(value).__name__}; "
                "leave return_norms=False"
            )
        return self.every * value
