"""StyleGAN2's regulariser of the generator: steps in latent space move images equally far."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from ._penalise import checks, draws
from ._penalise.double_backward_errors import check_not_compiled
from ._tracing import always_breaks_graphs, breaks_graphs
from .second_order import prune_zero_paths


@overload
def path_length_penalty(
    images: Tensor,
    latents: Tensor,
    *,
    target: float,
    weight: float = ...,
    noise: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    first_sample: int | None = ...,
    double_backward: Literal["pruned", "plain"] = ...,
    return_lengths: Literal[False] = ...,
) -> Tensor: ...


@overload
def path_length_penalty(
    images: Tensor,
    latents: Tensor,
    *,
    target: float,
    weight: float = ...,
    noise: Tensor | None = ...,
    generator: torch.Generator | None = ...,
    first_sample: int | None = ...,
    double_backward: Literal["pruned", "plain"] = ...,
    return_lengths: Literal[True],
) -> tuple[Tensor, Tensor]: ...


@breaks_graphs
def path_length_penalty(
    images: Tensor,
    latents: Tensor,
    *,
    target: float,
    weight: float = 2.0,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    first_sample: int | None = None,
    double_backward: Literal["pruned", "plain"] = "pruned",
    return_lengths: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""The path length regulariser of StyleGAN2, against a target of one's own.

    .. math:: weight \, \frac1B \sum_b \left( \left\| J_b^T y_b \right\|_2 - target \right)^2,
              \qquad J_b^T y_b = \nabla_{w_b} \langle G(w_b), y_b \rangle,
              \quad y_b = n_b / \sqrt{H W}, \quad n_b \sim N(0, 1)

    In training the target is the moving average of the lengths: :class:`PathLength`.

    Args:
        images: :math:`G(w)`, ``[B, C, *]`` (``[B, C, H, W]``, or pixels of any other number of
            dimensions), floating, computed from ``latents`` and not detached.
        latents: :math:`w`, ``[B, w]``, or ``[B, layers, w]`` with one for each layer, whose length
            is the root of the mean square over the layers. The tensor that the generator was called
            with, which must have required a gradient then.
        target: the length that costs nothing, at least 0; the paper's a.
        weight: of the penalty, at least 0.
        noise: :math:`n`, the shape, dtype and device of the images, to reproduce a draw; by default
            it is drawn.
        generator: where the draw comes from; by default the one that ``torch.manual_seed`` governs.
            On the CPU or on the device of the images.
        first_sample: the index of this process's first sample in the global batch, as for
            :func:`wgan_fast.fast_gradient_penalty`: the same noise from any number of processes.
        double_backward: "pruned" leaves out what is zero by construction, see
            :func:`wgan_fast.prune_zero_paths`, "plain" is PyTorch's own; the numbers are the same.
            It spares 5 passes of a generator that is linear piece by piece about 1, and nothing
            where latents scale the features, as in StyleGAN2's modulated convolutions.
        return_lengths: also return the length of each sample.

    Returns:
        The penalty, a scalar, float64 for float64 latents and float32 for all others. With
        ``return_lengths``, the pair ``(penalty, lengths)``, lengths ``[B]`` without a graph.

    Raises:
        TypeError: if an argument has the wrong type or dtype.
        ValueError: if shapes, devices or values do not fit, ``latents`` require no gradient, or
            ``images`` were not computed from them.
        RuntimeError: inside ``torch.inference_mode()``. A generator that cannot be differentiated
            twice raises it where its penalty is differentiated.

    Gradients: with respect to everything that the images were computed from, to any order; zero for
        a sample whose length is zero. Under ``torch.no_grad()`` the value is the same and has no
        graph. Parameters that are only added, such as the last bias, get none: where
        ``DistributedDataParallel`` waits for them, add ``0 * images.sum()``, as StyleGAN2 does.

    Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
    arXiv 1912.04958, equation 4; the weight, the scale of the noise and the mean over layers are
    those of the authors' code.

    Example:
        >>> from wgan_fast import efficient_double_backward
        >>> synthesis = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3 * 4 * 4)
        ... )
        >>> latents = torch.randn(16, 8, requires_grad=True)
        >>> with efficient_double_backward():  # where it has convolutions or attention
        ...     images = synthesis(latents).reshape(16, 3, 4, 4)
        >>> path_length_penalty(images, latents, target=1.0).backward()
    """
    target, weight = checks.check_number(target, "target"), checks.check_number(weight, "weight")
    checks.check_bool(return_lengths, "return_lengths")
    lengths = _path_lengths(images, latents, noise, generator, first_sample, double_backward)
    penalty = weight * (lengths - target).square().mean()
    return (penalty, lengths.detach()) if return_lengths else penalty


class PathLength(torch.nn.Module):
    r"""The path length regulariser of StyleGAN2, against the moving average of its own lengths.

    .. math:: weight \, \frac1B \sum_b \left( \left\| J_b^T y_b \right\|_2 - a \right)^2, \qquad
              a \leftarrow a + decay \left( \frac1B \sum_b \left\| J_b^T y_b \right\|_2 - a \right)

    where the average :math:`a` is updated first, as in the authors' code.

    Args:
        weight: of the penalty, at least 0.
        decay: how far the average moves towards the lengths of each batch, in (0, 1].
        double_backward: as for :func:`path_length_penalty`.

    Attributes:
        mean: the average, a buffer of one number, 0 before the first batch. It is saved and brought
            back with ``state_dict``. Each process keeps its own.

    Returns, when called with ``images`` and ``latents``, and with ``noise``, ``generator``,
    ``first_sample`` and ``return_lengths`` if wanted: what :func:`path_length_penalty` returns. In
    evaluation mode the average stays as it is.

    Raises: as :func:`path_length_penalty`.

    Gradients: those of the authors' code, in which the average is differentiated, too: of the
        square of a distance from an average that follows by ``decay``.

    Numerics: a batch whose lengths are not finite, as they may be while a GradScaler looks for its
        scale, does not change the average.

    Source: arXiv 1912.04958, section 3.2, and the authors' code, which takes it every 4 steps, on
    half of a batch: :class:`wgan_fast.Lazy`.

    Example:
        >>> from wgan_fast import Lazy
        >>> synthesis = torch.nn.Linear(8, 3 * 4 * 4)
        >>> path_length, lazily = PathLength(), Lazy(every=4)
        >>> def regulariser():
        ...     latents = torch.randn(16, 8, requires_grad=True)
        ...     return path_length(synthesis(latents).reshape(16, 3, 4, 4), latents)
        >>> for _ in range(8):
        ...     lazily(regulariser).backward()
        >>> bool(path_length.mean > 0)
        True
    """

    mean: Tensor

    def __init__(
        self,
        *,
        weight: float = 2.0,
        decay: float = 0.01,
        double_backward: Literal["pruned", "plain"] = "pruned",
    ) -> None:
        super().__init__()
        self.weight = checks.check_number(weight, "weight")
        self.decay = checks.check_number(decay, "decay")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], but it is {decay}")
        _check_double_backward(double_backward)
        self.double_backward = double_backward
        self.register_buffer("mean", torch.zeros(()))

    @always_breaks_graphs
    def forward(
        self,
        images: Tensor,
        latents: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        first_sample: int | None = None,
        return_lengths: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        checks.check_bool(return_lengths, "return_lengths")
        lengths = _path_lengths(
            images, latents, noise, generator, first_sample, self.double_backward
        )
        mean = self.mean.to(lengths)
        if self.training:
            before, mean = mean, mean.lerp(lengths.mean(), self.decay)
            self.mean.copy_(torch.where(mean.isfinite(), mean, before).detach())
        penalty = self.weight * (lengths - mean).square().mean()
        return (penalty, lengths.detach()) if return_lengths else penalty

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}, decay={self.decay:g}"


def _path_lengths(
    images: Tensor,
    latents: Tensor,
    noise: Tensor | None,
    generator: torch.Generator | None,
    first_sample: int | None,
    double_backward: str,
) -> Tensor:
    """The length of each sample's gradient of ``<images, noise / sqrt(pixels)>``, ``[B]``."""
    _check_double_backward(double_backward)
    _check_images_of_latents(images, latents)
    checks.check_generator(generator)
    if first_sample is not None:
        checks.check_first_sample(first_sample)
    if noise is None:
        noise = draws.draw_normal(images, generator, first_sample)
    else:
        _check_noise(noise, images, generator)
    create_graph = torch.is_grad_enabled()
    if create_graph and not torch.compiler.is_dynamo_compiling():
        check_not_compiled(images, "images", "the generator that torch.compile was given")
    (gradients,) = torch.autograd.grad(
        images,
        latents,
        noise.detach() / images.shape[2:].numel() ** 0.5,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    if gradients is None:
        raise ValueError(
            "images must have been computed from latents, but they do not depend on them; give the "
            "tensor that the generator was called with, not a copy or a part of it"
        )
    if create_graph and double_backward == "pruned":
        gradients = prune_zero_paths(gradients)
    # The same as the root of the mean over the layers, with the gradient 0 at length 0.
    layers = latents.shape[1:-1].numel()
    dtype = torch.float64 if latents.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(gradients.flatten(1), dim=1, dtype=dtype) / layers**0.5


def _check_double_backward(choice: Any) -> None:
    checks.check_choice(choice, "double_backward", ("pruned", "plain"))


def _check_images_of_latents(images: Any, latents: Any) -> None:
    checks.check_inference_mode()
    checks.check_samples(images, "images")
    checks.check_samples(latents, "latents")
    if latents.dim() not in (2, 3):
        raise ValueError(
            "latents must be [B, w], or [B, layers, w] with one for each layer, but their shape is "
            f"{list(latents.shape)}; reshape them before the generator is called"
        )
    if latents.shape[0] != images.shape[0]:
        raise ValueError(
            f"latents must have a row for each of the {images.shape[0]} images, but their shape is "
            f"{list(latents.shape)}"
        )
    if not latents.requires_grad:
        raise ValueError(
            "latents must require a gradient when the generator is called, but they do not; call "
            "latents.requires_grad_() before, or take them from the mapping network with its graph"
        )
    if not images.requires_grad:
        raise ValueError(
            "images must have been computed from latents with a graph, but they have none. Is "
            "there a detach() or a no_grad() in the generator, or around its call?"
        )


def _check_noise(noise: Any, images: Tensor, generator: Any) -> None:
    if generator is not None:
        raise ValueError("generator must be None when noise is given: there is nothing to draw")
    checks.check_samples(noise, "noise")
    if noise.shape != images.shape:
        raise ValueError(
            f"noise must have the shape of images, {list(images.shape)}, but it is "
            f"{list(noise.shape)}"
        )
    if noise.dtype != images.dtype:
        raise TypeError(
            f"noise must have the dtype of images, {images.dtype}, but it is {noise.dtype}; "
            "convert it with noise.to(images.dtype)"
        )
    if noise.device != images.device:
        raise ValueError(
            f"noise must be on the device of images, {images.device}, but it is on {noise.device}"
        )
