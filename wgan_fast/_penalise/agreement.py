"""Whether central differences are those of the critic's gradient, which they are to replace."""

from __future__ import annotations

import torch
from torch import Tensor

from .._tracing import values_of
from .warn import warn

#: The mismatch is what a difference and the gradient's slope along the same way are apart, as a
#: share of the larger of the two: 1 for a critic whose values and gradients have nothing to do with
#: each other. With smooth critics it is next to nothing. With untrained critics that have kinks
#: (MLPs of up to eight layers, DCGANs, residual networks, max pooling), its median over a batch was
#: at most 0.03 at a step of 0.005, 0.11 at 0.02, 0.42 at 0.1 and 0.6 at 0.2, in every dtype; with
#: an MLP of 16 layers 0.16, and 0.92 at 0.2. Training lessens it. So the limits grow with the step,
#: by the second number for each 1 of it; nothing is refused at a step of 0.05 or more.
_REFUSED = (0.5, 10.0)
_WARNED_OF = (0.15, 5.0)

#: No warning has a limit above this.
_LARGEST = 0.75

#: Among so few samples, one with an unlucky kink may be the median: there, no limit is below this.
_FEW, _OF_FEW = 8, 0.9

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
    slopes, differences, sizes, weights = map(values_of, (slopes, differences, sizes, weights))
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
    refused, warned_of = (base + more * step for base, more in (_REFUSED, _WARNED_OF))
    warned_of = min(warned_of, _LARGEST)
    if number < _FEW:
        refused, warned_of = max(refused, _OF_FEW), max(warned_of, _OF_FEW)
    if excess > refused and refused < 1:
        raise RuntimeError(f"finite differences do not fit this critic: {_what(median, step)}")
    if median > warned_of:
        warn(
            f"finite differences fit this critic poorly: {_what(median, step)} Kinks (ReLU, max "
            "pooling) may explain it at a large step, and rounding at a small one or where scores "
            "are large beside their change: see the tables in docs/variants.md."
        )


def _what(median: float, step: float) -> str:
    return (
        "along the gradient its scores do not change as the gradient says. For half of the "
        f"samples, {median:.0%} or more of the change is amiss, at a step of {step:g}. Possible "
        "causes: it changes something from call to call that is not seen (if its module is hidden "
        "in a lambda or a function, say module=...; if it is no module's state, hold it still "
        "while the penalty is computed); its gradient is not that of its values (straight-through "
        "or surrogate gradients); the score of a sample depends on other samples; the step is too "
        "large or too small for it (double_backward=FiniteDifference(step=...)). "
        "double_backward='pruned' asks for none of this."
    )
