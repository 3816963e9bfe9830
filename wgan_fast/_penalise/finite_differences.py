r"""The penalty's parameter gradient without a double backward, for critics that have none.

The penalty P depends on the parameters theta through the input gradients :math:`g_b` alone. With
:math:`k_b = \partial P / \partial g_b`, held fixed, and :math:`v_b = k_b / \|k_b\|`,

.. math:: \frac{\partial P}{\partial \theta}
          = \sum_b \frac{\partial}{\partial \theta} \langle k_b, \nabla_x D(x_b) \rangle
          \approx \frac{\partial}{\partial \theta} \sum_b \|k_b\| \,
                  \frac{D(x_b + h_b v_b) - D(x_b - h_b v_b)}{2 h_b}

which takes three passes of first order: one for the input gradient, and one at each of the two
points beside :math:`x_b`. The norm and the term only enter through :math:`k_b`; for the Euclidean
norm, :math:`v_b` is the normalised input gradient up to its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .._tracing import can_look
from ..ops._layout import per_sample
from .agreement import check_agreement
from .chunks import Once
from .critic import check_scores, input_gradients
from .engines import Engines
from .options import FiniteDifference
from .snapshot import snapshot_and_call

#: The default step. A smaller one drowns in rounding, a larger one sees the critic's curvature:
#: docs/variants.md has the errors over the step. float64 has digits to spare, and a small step
#: seldom crosses a kink.
STEPS = {torch.float64: 1e-6, torch.float32: 5e-3, torch.float16: 0.1, torch.bfloat16: 0.2}

#: The penalty of some input gradients and their norms.
Cost = Callable[[Tensor], tuple[Tensor, Tensor]]


def penalty_by_differences(
    critic: Callable[..., Tensor],
    points: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    cost: Cost,
    settings: FiniteDifference,
    module: torch.nn.Module | None,
    backend: str,
    engines: Engines,
) -> tuple[Tensor, Tensor]:
    """The penalty at some points, whose gradient is a central difference.

    Args:
        critic: the critic; the score of a sample depends on that sample alone.
        points: ``[B, *]``, where to differentiate; requires a gradient.
        args, kwargs: passed on to the critic.
        cost: the penalty of input gradients, a scalar or ``[B]``, and their norms, ``[B]``.
        settings: the step h, in units of the norm of each sample, or of 1 for shorter samples.
        module: whose state the critic may change, if it is known.
        backend: of the operators.
        engines: the wrappers in the critic.

    Returns:
        The exact penalty, which can be differentiated once, and the norms.
    """
    begin, gradients = snapshot_and_call(
        module,
        points,
        lambda _: input_gradients(
            critic,
            points,
            args,
            kwargs,
            create_graph=False,
            prune=False,
            module=module,
            per_sample=True,
        ),
    )
    penalty, norms = cost(gradients.requires_grad_())
    (slopes,) = torch.autograd.grad(penalty.sum(), gradients)  # k, [B, *]
    points = points.detach()
    weights = _norms(slopes, backend)
    computed_in = _dtype_of_layers(points)
    step = settings.step or STEPS[computed_in]
    reach = step * _norms(points, backend).clamp_min(1)
    move = slopes * per_sample(reach / weights.masked_fill(weights == 0, 1), slopes)

    def scores_at(x: Tensor) -> Tensor:
        begin.restore()
        scores = critic(x.to(points.dtype), *args, **kwargs)
        check_scores(scores, points)
        return scores.reshape(points.shape[0], -1)

    sides = scores_at(points + move), scores_at(points - move)
    engines.remember(*sides)
    after, before = (scores.to(weights.dtype).sum(1) for scores in sides)
    differences = (after - before) / (2 * reach)
    if can_look(points):
        dtype = weights.dtype
        along = (
            (gradients.detach().to(dtype) * slopes.to(dtype)).reshape(points.shape[0], -1).sum(1)
        )
        size = sum(scores.detach().abs().to(dtype).sum(1) for scores in sides) / (2 * reach)
        check_agreement(
            along / weights,
            differences.detach(),
            size,
            weights,
            step,
            (computed_in, sides[0].dtype),
        )
    differences = weights * differences
    surrogate = differences if penalty.dim() else differences.sum()
    return _WithGradientOf.apply(penalty.detach(), surrogate), norms.detach()


def _dtype_of_layers(points: Tensor) -> torch.dtype:
    kind = points.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else points.dtype


def _norms(x: Tensor, backend: str) -> Tensor:
    return ops.norm_penalty(x, backend=backend)[1]


class _WithGradientOf(torch.autograd.Function):
    """A value with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(other)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            grad = Once.apply(grad, *ctx.saved_tensors, _WHY_ONCE)
        return None, grad


_WHY_ONCE = (
    "a penalty by finite differences can be differentiated only once; take "
    'double_backward="pruned" to differentiate its gradient in turn'
)
