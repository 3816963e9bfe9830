"""One step of the critic: its scores, and the penalties beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from . import penalise
from .cost import cost_of
from .critic import check_scores, module_of
from .options import Options, Term
from .points import Points, requiring_gradients, to_require_gradients
from .shared_scores import scores_and_gradients

Critic = Callable[..., Any]


class Due(NamedTuple):
    """A penalty of this step.

    Args:
        weight: the papers' lambda or gamma, above 0.
        term: what a norm costs.
        norm: 2, 1 or ``math.inf``.
    """

    weight: float
    term: Term
    norm: float = 2

    def options(self, options: Options) -> Options:
        """The options of the step with the norm of this penalty."""
        return options if self.norm == options.norm else replace(options, norm=self.norm)


@dataclass
class Step:
    """What was asked for, and what has come of it so far.

    Args:
        options: the shared keywords.
        by_differences: how to do without a double backward, as errors suggest it.
        penalties: the weighed penalties, by the names "gp", "r1" and "r2".
        norms: each sample's gradient norm, likewise.
        ways: how the scores of "real" and "fake" are differentiated, where that is shared with a
            penalty.
    """

    options: Options
    by_differences: str
    penalties: dict[str, Tensor] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)

    def scores(
        self, critic: Critic, samples: Tensor, name: str, penalty: str, due: Due | None
    ) -> Tensor:
        """The scores of some samples; and their penalty in passing, if one is due."""
        options = self.options
        args, kwargs = tuple(options.critic_args), dict(options.critic_kwargs or {})
        x = to_require_gradients(samples)
        if due is None:
            scores = critic(x, *args, **kwargs)
            check_scores(scores, x, per_sample=False)
            return scores
        scored = scores_and_gradients(
            critic,
            requiring_gradients(x),
            args,
            kwargs,
            module=module_of(critic) if options.module is None else options.module,
            prune=options.double_backward == "pruned",
            by_differences=self.by_differences,
        )
        batch = samples.shape[0]
        cost = cost_of(due.weight / 2, batch, batch, due.term, due.options(options))
        self._note(penalty, *cost(scored.gradients))
        self.ways[name] = scored.way
        return scored.scores

    def penalise(self, critic: Critic, points: Points, batch: int, due: Due) -> None:
        """Calls the critic at interpolates, for the penalty of WGAN-GP."""
        options = due.options(self.options)
        gp = penalise(
            critic,
            points,
            batch,
            due.weight,
            due.term,
            options,
            by_differences=self.by_differences,
        )
        self._note("gp", *gp)

    def _note(self, penalty: str, value: Tensor, norms: Tensor) -> None:
        self.penalties[penalty], self.norms[penalty] = value, norms.detach()
