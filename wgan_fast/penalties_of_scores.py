"""Penalties of scores that exist already: for loops that have called the critic for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, overload

import torch
from torch import Tensor
from typing_extensions import Unpack

from ._penalise import checks
from ._penalise.cost import cost_of
from ._penalise.double_backward_errors import check_constant, check_not_compiled
from ._penalise.joint import Samples, entries_of, joint
from ._penalise.options import Options, Term
from ._tracing import breaks_graphs
from .second_order import prune_zero_paths


class KeywordsOfScores(TypedDict, total=False):
    """The keywords that penalties of scores share; explained in :func:`gradient_penalty_of`."""

    reduction: str
    norm: float
    backend: str
    double_backward: Literal["pruned", "plain"]


class SharedOfScores(KeywordsOfScores, total=False):
    """The same and what changes what is returned."""

    return_norms: bool


#: The penalty, or with ``return_norms`` the penalty and the norms.
Result = Tensor | tuple[Tensor, Tensor]


@overload
def gradient_penalty_of(
    scores: Tensor,
    inputs: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    power: float = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[KeywordsOfScores],
) -> Tensor: ...


@overload
def gradient_penalty_of(
    scores: Tensor,
    inputs: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    power: float = ...,
    return_norms: Literal[True],
    **shared: Unpack[KeywordsOfScores],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def gradient_penalty_of(
    scores: Tensor,
    inputs: Samples,
    *,
    lambda_gp: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    power: float = 2.0,
    **shared: Unpack[SharedOfScores],
) -> Result:
    r"""The gradient penalty of scores that a loop has computed already; it calls no critic.

    .. math:: \lambda \, \frac1B \sum_b \left| \left\| \nabla_{x_b} D(x_b) \right\| - target
              \right|^{power}

    For loops whose loss takes the same scores. Where the loop can be changed,
    :func:`wgan_fast.critic_loss` takes a third of the work out of it.

    Args:
        scores: the critic's scores of ``inputs``, with a graph, of any shape, such as ``[B]``;
            every entry counts.
        inputs: what the critic was called with: a tensor ``[B, *]``, or a tuple, list or dict of
            such, whose norm is taken over all of them together. They require a gradient, from
            before the critic was called.
        lambda_gp: the weight :math:`\lambda`, at least 0.
        target: the gradient norm that costs nothing, at least 0.
        one_sided: penalise only norms above the target.
        power: the exponent, at least 1.
        shared: ``reduction`` ("mean" over the batch, "sum", "max", or "none" for each sample),
            ``norm`` (2, 1 or ``math.inf``), ``backend`` and ``return_norms``, as for
            :func:`wgan_fast.fast_gradient_penalty`; and ``double_backward``: "pruned" leaves out
            what is zero, which spares passes if loss and penalty are differentiated by two calls of
            ``backward()``, and "plain" leaves it in. Take "plain" where ``Tensor.register_hook``
            put a hook on a tensor of the critic: it would be called with None in place of zeros.

    Returns:
        The penalty, a scalar (``[B]`` for "none"), or with ``return_norms`` ``(penalty, norms)``;
        float32, or float64 for float64 inputs.

    Raises:
        TypeError: if an argument has the wrong type or dtype.
        ValueError: if shapes or values do not fit, an input does not require a gradient, or the
            scores were not computed from it.
        RuntimeError: if the graph of the scores was freed by a ``backward()`` before, or their
            gradient has none although they depend on parameters.

    Gradients: with respect to everything that the scores depend on, to any order. The graph of the
    scores is kept for the loss.

    Numerics: as for :func:`wgan_fast.fast_gradient_penalty`.

    Source: arXiv 1704.00028, equation 3.

    Example:
        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        ... )
        >>> real = torch.randn(256, 2, requires_grad=True)
        >>> scores = critic(real)
        >>> loss = torch.nn.functional.softplus(-scores).mean()
        >>> (loss + gradient_penalty_of(scores, real, target=0.0)).backward()
    """
    weight = checks.check_number(lambda_gp, "lambda_gp")
    return _penalty(scores, inputs, "inputs", weight, Term(target, one_sided, power), shared)


@overload
def r1_penalty_of(
    scores: Tensor,
    real: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[KeywordsOfScores],
) -> Tensor: ...


@overload
def r1_penalty_of(
    scores: Tensor,
    real: Samples,
    *,
    gamma: float = ...,
    return_norms: Literal[True],
    **shared: Unpack[KeywordsOfScores],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def r1_penalty_of(
    scores: Tensor, real: Samples, *, gamma: float = 10.0, **shared: Unpack[SharedOfScores]
) -> Result:
    r"""R1 of scores that a loop has computed already; R2, if they are those of generated samples.

    .. math:: \frac\gamma2 \, \frac1B \sum_b \left\| \nabla_{x_b} D(x_b) \right\|_2^2

    Args:
        scores: the critic's scores of ``real``, as for :func:`gradient_penalty_of`.
        real: what the critic was called with, likewise.
        gamma: the weight, at least 0.
        shared: as for :func:`gradient_penalty_of`.

    Returns, Raises, Gradients and Numerics as for :func:`gradient_penalty_of`.

    Source: Mescheder et al., arXiv 1801.04406, equation 9.

    Example:
        >>> critic, real = torch.nn.Linear(2, 1, bias=False), torch.randn(8, 2, requires_grad=True)
        >>> _ = critic.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> r1_penalty_of(critic(real), real).item()
        125.0
    """
    weight = checks.check_number(gamma, "gamma") / 2
    return _penalty(scores, real, "real", weight, Term(target=0.0), shared)


def _penalty(
    scores: Tensor, inputs: Samples, name: str, weight: float, term: Term, shared: Any
) -> Result:
    unknown = set(shared) - set(SharedOfScores.__annotations__)
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {min(unknown)!r}; besides its own, this penalty takes "
            f"{', '.join(SharedOfScores.__annotations__)}"
        )
    options = Options(**shared)
    checks.check_choice(options.double_backward, "double_backward", ("pruned", "plain"))
    checks.check_inference_mode()
    entries = entries_of(inputs, name)
    batch = next(iter(entries.values())).shape[0]
    gradients = joint_gradients(scores, entries, batch, prune=options.double_backward == "pruned")
    penalty, norms = cost_of(weight, batch, batch, term, options)(gradients)
    if options.reduction == "max":
        penalty = penalty.amax()
    return (penalty, norms.detach()) if options.return_norms else penalty


def joint_gradients(scores: Any, inputs: dict[str, Tensor], batch: int, *, prune: bool) -> Tensor:
    """The gradients of the scores with respect to all inputs, side by side: ``[B, *]``.

    Args:
        scores: with a graph, which is kept.
        inputs: by name, ``[B, *]`` each.
        batch: how many samples there are.
        prune: whether to cut the paths of the double backward on which all is zero.
    """
    for name, tensor in inputs.items():
        if not tensor.requires_grad:
            raise ValueError(
                f"{name} must require a gradient, from before the critic is called: call "
                f"{name}.requires_grad_() first"
            )
    tensors = list(inputs.values())
    checks.check_scores(scores=scores)
    if scores.dim() == 0 and batch > 1:
        raise ValueError(
            f"scores must hold a score for each of the {batch} samples, shape [{batch}, *], but "
            "they are one number; do not average over the batch"
        )
    if not scores.requires_grad:
        raise ValueError(
            "scores must have a graph, but they require no gradient; were they computed under "
            "torch.no_grad(), or detached?"
        )
    create_graph = torch.is_grad_enabled()
    recorded = create_graph and not torch.compiler.is_dynamo_compiling()
    if recorded:
        check_not_compiled(scores, "scores", "critic_loss, which calls the critic itself")
    found: Sequence[Tensor | None] = torch.autograd.grad(
        scores,
        tensors,
        torch.ones_like(scores),
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    if all(gradient is None for gradient in found):
        raise ValueError(
            f"scores must be computed from {' and '.join(inputs)}, but they do not depend on it: "
            "pass the very tensor that the critic was called with, and not a copy of it"
        )
    gradients = [
        torch.zeros_like(tensor) if gradient is None else gradient
        for gradient, tensor in zip(found, tensors, strict=True)
    ]
    if recorded and not any(gradient.requires_grad for gradient in gradients):
        check_constant(scores, tensors, hooked=False)
    # Pruned after they were joined: those that are pruned together are to be used together.
    together = gradients[0] if len(gradients) == 1 else joint(gradients)
    return prune_zero_paths(together) if create_graph and prune else together
