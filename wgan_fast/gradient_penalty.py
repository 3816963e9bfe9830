"""The gradient penalty of WGAN-GP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import torch
from torch import Tensor
from typing_extensions import Unpack

from ._penalise import checks, penalise
from ._penalise.joint import Samples, joined_pair
from ._penalise.options import DoubleBackward, Keywords, Options, Term
from ._penalise.points import interpolates
from ._tracing import breaks_graphs


@overload
def fast_gradient_penalty(
    critic: Callable[..., Tensor],
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[False] = ...,
    **shared: Unpack[Keywords],
) -> Tensor: ...


@overload
def fast_gradient_penalty(
    critic: Callable[..., Tensor],
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = ...,
    target: float = ...,
    one_sided: bool = ...,
    epsilon: Tensor | None = ...,
    return_norms: Literal[True],
    **shared: Unpack[Keywords],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def fast_gradient_penalty(
    critic: Callable[..., Tensor],
    real: Samples,
    fake: Samples,
    *,
    lambda_gp: float = 10.0,
    target: float = 1.0,
    one_sided: bool = False,
    epsilon: Tensor | None = None,
    generator: torch.Generator | None = None,
    first_sample: int | None = None,
    critic_args: tuple[Any, ...] = (),
    critic_kwargs: Mapping[str, Any] | None = None,
    module: torch.nn.Module | None = None,
    shared_arguments: tuple[int | str, ...] = (),
    reduction: str = "mean",
    chunk_size: int | None = None,
    backend: str = "auto",
    double_backward: DoubleBackward = "pruned",
    norm: float = 2,
    subset: float | None = None,
    return_norms: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""The gradient penalty of WGAN-GP, ready to be added to the critic's loss.

    .. math:: \lambda \, \frac1B \sum_b \left( \left\| \nabla_{\hat x_b} D(\hat x_b) \right\|_2
              - target \right)^2, \qquad
              \hat x_b = \epsilon_b \, x_b + (1 - \epsilon_b) \, \tilde x_b

    It draws :math:`\epsilon`, interpolates, differentiates the critic :math:`D` and penalises the
    norm of each sample's gradient over all its dimensions.

    Args:
        critic: maps ``[B, *]`` to scores of any shape, such as ``[B]``; every entry counts. A
            module or any function.
        real: real samples :math:`x`, ``[B, *]``, float64, float32, bfloat16 or float16, any dense
            layout. Detached: the penalty reaches the critic's parameters and nothing else. Or a
            tuple, list or dict of such tensors, with one batch, dtype and device: the critic is
            called with the same, and each sample has one mixing factor for all of them and one
            norm of all its gradients. Integers, such as labels, belong in ``critic_args``.
        fake: generated samples :math:`\tilde x`, the same shape, dtype and device; of several
            tensors as many, or with the same keys. Detached.
        lambda_gp: the weight :math:`\lambda` of the penalty, at least 0.
        target: the gradient norm that costs nothing, at least 0.
        one_sided: penalise only norms above the target (WGAN-LP).
        epsilon: the mixing factors, ``[B]`` in [0, 1], to reproduce a draw; by default they are
            drawn uniformly, one for each sample.
        generator: where the draw comes from; by default the one that ``torch.manual_seed`` governs.
            On the CPU or on the device of the samples.
        first_sample: where several processes share a batch, the index in it of this process's first
            sample, which :func:`wgan_fast.distributed.first_sample` tells. The global batch is then
            drawn for alike by any number of processes with one seed: the same mixing factors,
            noise and ``subset``, bit for bit. By default each process draws for itself: with one
            seed on all of them, the first samples of all get one factor, the second ones another,
            and so on, so that the factors of the processes are the same and not independent.
        critic_args: positional arguments for the critic after its input, such as labels.
        critic_kwargs: keyword arguments for the critic.
        module: the module whose parameters the critic uses, where that cannot be seen: where it is
            a lambda or a function. A module, its methods and ``functools.partial`` of these are
            known. It is what warnings and savings go by; and where the critic changes its state
            from call to call, what finite differences and ``chunk_size`` set back.
        shared_arguments: which arguments of the critic belong to the whole batch, and are handed
            over uncut with ``chunk_size`` or ``subset`` even if they happen to have ``B`` rows:
            positions in ``critic_args``, and names in ``critic_kwargs``.
        reduction: "mean" over the batch, "sum", "max", or "none" for each sample's penalty. Of
            several processes each takes its own: a mean of their means is that of the global batch
            if all have as many samples; a mean of their maxima is not its maximum.
        chunk_size: go through the batch in slices of this many samples: the same penalty and
            gradients, in memory that grows with the slice. Tensors in ``critic_args`` and
            ``critic_kwargs`` that have ``B`` rows are sliced along. Every slice begins with the
            same state of the module, and random draws go on. With "none" and "max", and for
            parameters with hooks, the critic is called again in the backward pass. Samples that
            meet in the critic (minibatch statistics) meet within a slice only; that is warned of.
        backend: "auto" takes the compiled kernels where there are any, and plain PyTorch where
            there are none; with "native", missing kernels are an error; "pytorch" does without;
            "reference" is what the kernels are compared with, slow and easy to read. Tensors of
            another type, such as ``DTensor``, always take plain PyTorch. Which layers are replaced
            is not decided here, but by ``double_backward``.
        double_backward: "pruned" leaves out of the double backward what is zero by construction,
            replaces its convolutions by faster ones, and switches attention and recurrent networks
            to backends that can be differentiated twice; the numbers are PyTorch's ("exact" is the
            same). "plain" is PyTorch's own double backward. "finite_difference" is for a critic
            that cannot be differentiated twice: the same value, and its parameter gradient by a
            central difference of first-order passes. It takes the score of a sample to depend on
            that sample alone, and to be one row of the scores; :class:`wgan_fast.FiniteDifference`
            sets its step.
        norm: of the input gradient: 2; 1, which is dual to the maximum norm of the samples (the
            critic becomes Lipschitz with respect to their largest difference in any entry); or
            ``math.inf``, dual to their 1-norm. Both in plain PyTorch. Banach WGAN's
            :math:`(n / \gamma - 1)^2` is ``target=gamma`` with ``lambda_gp / gamma**2``.
        subset: estimate the penalty from a random part of the batch, such as 0.25, for as much less
            work: the expectation is the same. With "none", ``B`` is then the size of the part. It
            is drawn at random; with ``first_sample``, samples at even distances from a random start
            on (systematic sampling), of this process ``subset * B``, rounded up or down, and sums
            are divided by ``subset * B`` itself.
        return_norms: also return the gradient norm of each sample.

    Returns:
        The penalty, a scalar (``[B]`` for "none"), float64 for float64 samples and float32 for all
        others. With ``return_norms``, the pair ``(penalty, norms)``, norms ``[B]`` without a graph.

    Raises:
        TypeError: if an argument, or what the critic returns, has the wrong type or dtype.
        ValueError: if shapes, devices or values do not fit, the batch is empty, or the critic's
            scores are none, or one number for several samples, or do not depend on its input.
        RuntimeError: inside ``torch.inference_mode()``, if the backend is not there, if finite
            differences have nothing to do with the critic's gradient, or if the input gradient has
            no graph although the scores depend on parameters. A critic that cannot be
            differentiated twice raises it where its penalty is differentiated.

    Warns, once for each critic, of batch normalisation that it calls in training mode.

    Gradients: with respect to everything that the critic's scores depend on, except real and fake;
    to any order, with ``chunk_size`` or finite differences to the first. Zero for a sample whose
    gradient norm is zero. Under ``torch.no_grad()`` the value is the same and has no graph.

    Numerics: norms and penalty are computed in float32 (float64 for float64 samples), by the CPU
    kernels from sums in float64; they do not depend on the number of threads. The same seed draws
    the same mixing factors on every device, in every dtype, chunked or not. The kernels and
    "reference" draw by Philox, from one number of the generator, and so does everything with
    ``first_sample``; without it plain PyTorch draws other factors, by ``torch.rand``.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", arXiv 1704.00028, equation 3
    and algorithm 1; one-sided: Petzka et al., arXiv 1709.08894.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        ... )
        >>> real, fake = torch.randn(2, 256, 2)
        >>> penalty, norms = fast_gradient_penalty(critic, real, fake, return_norms=True)
        >>> loss = critic(fake).mean() - critic(real).mean() + penalty
        >>> loss.backward()
        >>> norms.shape
        torch.Size([256])

        Samples of two tensors, and a critic that takes them one by one:

        >>> match = torch.nn.Bilinear(2, 3, 1)
        >>> real, fake = ((torch.randn(8, 2), torch.rand(8, 3)) for _ in range(2))
        >>> penalty = fast_gradient_penalty(lambda x: match(*x), real, fake, module=match)
    """
    lambda_gp = checks.check_number(lambda_gp, "lambda_gp")
    term = Term(target, one_sided)
    options = Options(
        critic_args=critic_args,
        critic_kwargs=critic_kwargs,
        module=module,
        shared_arguments=shared_arguments,
        reduction=reduction,
        chunk_size=chunk_size,
        backend=backend,
        double_backward=double_backward,
        norm=norm,
        subset=subset,
        generator=generator,
        first_sample=first_sample,
        return_norms=return_norms,
    )
    critic, real, fake = joined_pair(critic, real, fake)
    points = interpolates(real, fake, epsilon, options)
    return penalise(critic, points, real.shape[0], lambda_gp, term, options)
