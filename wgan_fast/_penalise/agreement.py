"""Whether central differences are those of the critic's gradient, which they are to replace."""

from __future__ import annotations

import torch
from torch import Tensor

from .warn import warn

#: The mismatch is what a difference and the gradient's slope along the same way are apart, as a
#: share of the larger of the two: 1 for a critic whose values and gradients have nothing to do with
#: each other. For untrained critics with kinks, up to eight layers deep, the median over a batch
#: was at most 0.03 at a step of 0.005, 0.11 at 0.02, 0.42 at 0.1 and 0.6 at 0.2, in any dtype;
#: training lessens it. The first number of each pair is the limit for small steps, the second what
#: is added for each 1 of the step.
_REFUSED = (0.5, 2.0)
_WARNED_OF = (0.1, 5.0)

#: No limits are above these: that of refusal, and that of the warning.
_MOST = (0.85, 0.75)

#: Among so few samples, one with an unlucky kink may be the median: only the largest limits count.
_FEW = 8

#: Rounding makes the mismatch up to twice what it is estimated to be.
_ROUNDING = 2.0


def check_agreement(
    slopes: Tensor,
    differences: Tensor,
    sizes: Tensor,
    weights: Tensor,
    step: float,
    dtypes: tuple[torch.dtype, ...],
) -> None:
    """Refuses differences that have nothing to do with the gradient, and warns of poor ones.

    Args:
        slopes: of the scores along the way of each difference, by the gradient, ``[B]``.
        differences: of the scores at both ends of the way, divided by its length, ``[B]``.
        sizes: of the scores, divided in the same way, ``[B]``.
        weights: what each sample counts, ``[B]``; only whether it is zero matters.
        step: half the length of the way, relative to the sample.
        dtypes: of the critic's layers and of its scores; the coarsest rounds.

    Raises:
        RuntimeError: if most differences are wrong.
    """
    larger = torch.maximum(slopes.abs(), differences.abs())
    mismatch = (slopes - differences).abs() / larger
    precision = max(torch.finfo(dtype).eps for dtype in dtypes)
    excused = mismatch - _ROUNDING * precision * sizes / larger
    counts = (weights != 0) & (larger > 0)
    medians = [torch.where(counts, each, torch.nan).nanmedian() for each in (mismatch, excused)]
    finite = torch.where(counts, excused, 0).isfinite().all()
    # together, for a device is waited for
    number, finite, median, excess = torch.stack([counts.sum(), finite, *medians]).tolist()
    if not finite or number == 0:
        return
    refused, warned_of = (
        most if number < _FEW else min(most, small + slope * step)
        for most, (small, slope) in zip(_MOST, (_REFUSED, _WARNED_OF), strict=True)
    )
    if excess > refused:
        raise RuntimeError(_WRONG.format(median))
    if median > warned_of:
        warn(_POOR.format(median, step))


_WRONG = (
    "finite differences do not fit this critic: the change of its scores along the gradient is not "
    "what the gradient says, for half of the samples by {:.0%} or more. Possible causes: the "
    "critic changes something from call to call that the library cannot see (pass module= if it "
    "is hidden in a lambda; otherwise hold it still while the penalty is computed); its gradient "
    "is not that of its values (straight-through or surrogate gradients); the score of a sample "
    "depends on other samples (batch statistics); or the step is too large or too small for it "
    "(FiniteDifference(step=...)). Or take double_backward='pruned', which asks for none of this"
)
_POOR = (
    "finite differences fit this critic poorly: the change of its scores along the gradient is not "
    "what the gradient says, for half of the samples by {:.0%} or more, at a step of {:g}. Kinks "
    "(ReLU, max pooling) explain that for a large step, and rounding for a small one, or for scores "
    "that are large beside their change; see the tables in docs/variants.md. Try another step, "
    "FiniteDifference(step=...), or double_backward='pruned'."
)
