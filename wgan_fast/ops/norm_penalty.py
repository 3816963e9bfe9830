r"""The norm of each sample's gradient, and the penalty on its distance from a target.

    norms[b] = ||gradients[b]||_2,    penalty = scale * sum_b |s(norms[b])|^power

with s(n) = n - target, or max(n - target, 0) when one-sided.

Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, equation 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_bool, check_choice, check_dense, check_norm, check_number
from ._checks import check_samples, check_vector
from ._layout import as_rows, compute_dtype, empty_packed_like, packed_like, per_sample
from ._op import BACKENDS, Op


def norm_penalty(
    gradients: Tensor,
    *,
    target: float = 1.0,
    one_sided: bool = False,
    power: float = 2.0,
    scale: float = 1.0,
    reduce: bool = True,
    norm: float = 2,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""The penalty on the per-sample norms of a batch of gradients, and these norms.

    .. math:: n_b = \|g_b\|_2, \qquad
              penalty = scale \sum_b |n_b - target|^{power}

    Args:
        gradients: ``[B, *]``, float64, float32, float16 or bfloat16, any layout, not empty. The
            norm of a sample is over all dimensions but the first.
        target: where the penalty is zero, at least 0.
        one_sided: penalise only norms above the target.
        power: the exponent, at least 1.
        scale: the factor of every summand, at least 0; ``lambda_gp / B`` makes WGAN-GP's mean.
        reduce: sum over the batch; otherwise return each sample's summand.
        norm: 2, or 1 or ``math.inf``, for which there is plain PyTorch only.
        backend: "auto", "native", "pytorch" or "reference".

    Returns:
        ``(penalty, norms)``: a scalar (``[B]`` if not ``reduce``) and ``[B]``, both float64 for
        float64 gradients and float32 for all others.

    Raises:
        TypeError: if the gradients are not a dense tensor, or a setting has the wrong type.
        ValueError: if target or scale are negative, power is below 1, one of them is not finite, or
            there is no such norm or backend, or no kernel for that norm.
        RuntimeError: if the gradients are empty or of another dtype, or the backend is not there.

    Gradients: of penalty and norms with respect to gradients, to any order; zero where the norm is.

    Numerics: the CPU kernels and "reference" sum squares in float64, in an order that does not
    depend on the number of threads. The CUDA kernels sum in float32 (float64 for float64), in an
    order that follows from shape, alignment and the GPU. All of them rescale rows whose squares
    leave the range of what they sum in. "pytorch" sums in the dtype of the norms, and rescales
    nothing. A norm that does not fit in float32 is infinite. NaN and infinity come through.

    Source: arXiv 1704.00028, equation 3; one-sided: arXiv 1709.08894; power: arXiv 1712.01026.

    Example:
        >>> gradients = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
        >>> norm_penalty(gradients, scale=10 / 2)
        (tensor(80.), tensor([5., 1.]))
    """
    check_dense(gradients, "gradients", "[B, *]")
    target, scale = check_number(target, "target"), check_number(scale, "scale")
    power = check_number(power, "power", least=1.0)
    check_bool(one_sided, "one_sided")
    check_bool(reduce, "reduce")
    if norm != 2:
        check_norm(norm, backend)
        check_choice(backend, "backend", BACKENDS)
        _check(gradients)
        dtype = compute_dtype(gradients.dtype)
        rows = gradients.reshape(gradients.shape[0], -1)
        norms = torch.linalg.vector_norm(rows, norm, dim=1, dtype=dtype)
        penalty = scale * term(norms, target, one_sided, power)
        return (penalty.sum() if reduce else penalty), norms
    return NORM_PENALTY(
        as_rows(gradients), target, one_sided, power, scale, reduce, backend=backend
    )


def _check(gradients: Tensor, *settings: Any) -> None:
    check_samples(gradients, "gradients")
    if gradients.numel() == 0:
        raise RuntimeError("gradients must not be empty")


def _check_backward(
    gradients: Tensor,
    norms: Tensor,
    grad_penalty: Tensor,
    grad_norms: Tensor | None,
    *settings: Any,
) -> None:
    check_samples(gradients, "gradients")
    batch, reduce = gradients.shape[0], settings[-1]
    check_vector(norms, "norms", gradients, batch)
    check_vector(grad_penalty, "grad_penalty", gradients, 1 if reduce else batch)
    if grad_norms is not None:
        check_vector(grad_norms, "grad_norms", gradients, batch)


def norms_of(gradients: Tensor) -> Tensor:
    """Each sample's norm, ``[B]``, float64, without over- or underflow of the squares."""
    rows = gradients.reshape(gradients.shape[0], -1).to(torch.float64)
    if gradients.dtype == torch.float64:  # the squares of all others fit into float64
        largest = rows.abs().amax(1, keepdim=True)
        usable = (largest > 0) & (largest < torch.inf)
        largest = torch.where(usable, largest, 1.0)
        return torch.linalg.vector_norm(rows / largest, dim=1) * largest.squeeze(1)
    return torch.linalg.vector_norm(rows, dim=1)


def _distance(norms: Tensor, target: float, one_sided: bool) -> Tensor:
    return (norms - target).clamp_min(0) if one_sided else norms - target


def term(norms: Tensor, target: float, one_sided: bool, power: float) -> Tensor:
    """The penalty of each norm."""
    distance = _distance(norms, target, one_sided)
    return distance * distance if power == 2 else distance.abs() ** power


def term_derivative(norms: Tensor, target: float, one_sided: bool, power: float) -> Tensor:
    """The derivative of :func:`term` with respect to the norm."""
    distance = _distance(norms, target, one_sided)
    if power == 2:
        return 2 * distance
    return power * distance.abs() ** (power - 1) * distance.sign()


def _reference(
    gradients: Tensor, target: float, one_sided: bool, power: float, scale: float, reduce: bool
) -> tuple[Tensor, Tensor]:
    norms = norms_of(gradients)
    penalty = scale * term(norms, target, one_sided, power)
    dtype = compute_dtype(gradients.dtype)
    return (penalty.sum() if reduce else penalty).to(dtype), norms.to(dtype)


def _pytorch(
    gradients: Tensor, target: float, one_sided: bool, power: float, scale: float, reduce: bool
) -> tuple[Tensor, Tensor]:
    dtype = compute_dtype(gradients.dtype)
    rows = gradients if gradients.dim() == 2 else gradients.reshape(gradients.shape[0], -1)
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=dtype)
    if reduce and power == 2:
        distance = _distance(norms, target, one_sided)
        return scale * torch.dot(distance, distance), norms
    penalty = term(norms, target, one_sided, power)
    return scale * (penalty.sum() if reduce else penalty), norms


def _reference_backward(
    gradients: Tensor,
    norms: Tensor,
    grad_penalty: Tensor,
    grad_norms: Tensor | None,
    target: float,
    one_sided: bool,
    power: float,
    scale: float,
    reduce: bool,
) -> Tensor:
    slope = scale * grad_penalty * term_derivative(norms, target, one_sided, power)
    if grad_norms is not None:
        slope = slope + grad_norms
    # The unit vector g / n first: 1 / n alone could overflow. A sample without a gradient has none.
    zero = norms == 0
    safe = per_sample(norms.masked_fill(zero, 1), gradients)
    unit = gradients.to(norms.dtype) / safe
    return packed_like(gradients, unit * per_sample(slope.masked_fill(zero, 0), gradients))


class _NormPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Any, gradients: Tensor, settings: tuple[Any, ...]) -> Any:
        ctx.backend = "reference" if kernel is NORM_PENALTY.reference else "auto"
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        penalty, norms = kernel(gradients, *settings)
        ctx.save_for_backward(gradients, norms)
        return penalty, norms

    @staticmethod
    def backward(ctx: Any, grad_penalty: Tensor | None, grad_norms: Tensor | None) -> Any:
        # `norms` is an output of this node: a derivative with respect to it comes back here, so
        # that the formula may treat it as given, to any order.
        gradients, norms = ctx.saved_tensors
        shape = () if ctx.settings[-1] else norms.shape
        grad = NORM_PENALTY_BACKWARD(
            gradients,
            norms,
            norms.new_zeros(shape) if grad_penalty is None else grad_penalty.contiguous(),
            None if grad_norms is None else grad_norms.contiguous(),
            *ctx.settings,
            backend=ctx.backend,
        )
        return None, grad, None


def _fake(gradients: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    norms = gradients.new_empty(gradients.shape[0], dtype=compute_dtype(gradients.dtype))
    return (norms.new_empty(()) if settings[-1] else torch.empty_like(norms)), norms


def _samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    variants = [(1.0, False, 2.0), (1.0, True, 2.0), (0.0, False, 2.0), (0.5, False, 6.0)]
    for shape, variant in zip([(1,), (3, 1), (4, 7), (2, 3, 4, 4)], variants, strict=True):
        gradients = torch.randn(shape, dtype=dtype, device=device)
        yield gradients, *variant, 10.0, True
        yield gradients, *variant, 10.0, False


def _backward_samples(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Any, ...]]:
    for gradients, *settings in _samples(dtype, device):
        norms = norms_of(gradients).to(compute_dtype(dtype))
        grad_penalty = torch.randn_like(norms)
        if settings[-1]:
            grad_penalty = grad_penalty.sum()
        yield gradients, norms, grad_penalty, None, *settings
        yield gradients, norms, grad_penalty, torch.randn_like(norms), *settings


NORM_PENALTY = Op(
    "norm_penalty(Tensor gradients, float target, bool one_sided, float power, float scale, "
    "bool reduce) -> (Tensor, Tensor)",
    check=_check,
    reference=_reference,
    pytorch=_pytorch,
    fake=_fake,
    # In one argument: PyTorch looks at each.
    autograd=lambda kernel, gradients, *settings: _NormPenalty.apply(kernel, gradients, settings),
    samples=_samples,
)

NORM_PENALTY_BACKWARD = Op(
    "norm_penalty_backward(Tensor gradients, Tensor norms, Tensor grad_penalty, "
    "Tensor? grad_norms, float target, bool one_sided, float power, float scale, bool reduce) "
    "-> Tensor",
    check=_check_backward,
    reference=_reference_backward,
    fake=lambda gradients, *_: empty_packed_like(gradients),
    # Only asked for when a gradient of a gradient is: plain PyTorch does, to any order.
    autograd=lambda kernel, *args: _reference_backward(*args),
    samples=_backward_samples,
)
