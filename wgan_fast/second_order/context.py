"""The call of a function whose gradient will be differentiated again, made cheaper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, overload

import torch
from torch import Tensor

from .._per_critic import memory_of
from .._torch_internals import next_hook_number
from ._layer import Replacing
from ._profile import Profile, profile_of
from ._walk import find_cuts
from .layers import ATTENTION, LAYERS, RECURRENT
from .layers.attention import plain_attention
from .layers.first_linear import FIRST_LINEAR
from .prune import Gradients, check_gradients, cut, with_zero_gradients


class NoticingHooks(AbstractContextManager[Any]):
    """Notices whether what is called in it puts a hook on a tensor or a module.

    Attributes:
        has_hooks: whether it did; once it was left.
        known_hooks: how many of the hooks are no matter, as who calls it knows.
    """

    has_hooks = False
    known_hooks = 0
    _next: int | None = 0

    def __enter__(self) -> Any:
        self._next = next_hook_number()
        return self

    def __exit__(self, *error: Any) -> None:
        # Where the number of the next hook is unknown, there may be one.
        before, now = self._next, next_hook_number()
        self.has_hooks = before is None or now is None or now - before != self.known_hooks


class EfficientDoubleBackward(NoticingHooks):
    """What :func:`efficient_double_backward` returns.

    Args:
        profile: what is known of the critic that will be called, if anything is.
        points: where the critic will be called, ``[B, *]``, if that is known. They get no zeros;
            nobody asks for their gradient.
    """

    def __init__(self, profile: Profile | None = None, points: Tensor | None = None) -> None:
        self._points = points
        self._attention = plain_attention(on_cpu=points is not None and points.is_cpu)
        self._profile = profile
        self._replacing: Replacing | None = None
        if self._profile is None or points is None or self._profile.may_replace(points):
            self._replacing = Replacing(LAYERS if points is None else (*LAYERS, FIRST_LINEAR))

    def __enter__(self) -> EfficientDoubleBackward:
        self._attention.__enter__()
        if self._replacing is not None:
            self._replacing.__enter__()
        self._next = next_hook_number()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__()
        if self._replacing is not None:
            self._replacing.__exit__(*error)
            if self._profile is not None and self._points is not None:
                self._profile.learn_from_call(self._replacing, self._points)
        self._attention.__exit__(*error)

    @overload
    def prune(self, gradients: Tensor) -> Tensor: ...

    @overload
    def prune(self, gradients: Gradients) -> tuple[Tensor | None, ...]: ...

    def prune(self, gradients: Tensor | Gradients) -> Tensor | tuple[Tensor | None, ...]:
        """The same gradients, as :func:`prune_zero_paths` returns them, where that pays.

        They are returned as they are if the critic put a hook on a tensor of its own while it was
        called: such a hook would be called with None on a cut path.
        """
        if isinstance(gradients, Tensor):
            return self._pruned([gradients])[0]
        check_gradients(gradients)
        given = [gradient for gradient in gradients if gradient is not None]
        pruned = iter(self._pruned(given))
        return tuple(None if gradient is None else next(pruned) for gradient in gradients)

    def _pruned(self, gradients: list[Tensor]) -> list[Tensor]:
        profile = self._profile
        if self.has_hooks or not gradients:
            return gradients
        if profile is not None and not profile.may_cut(gradients[0].shape):
            return gradients
        walk = find_cuts(gradients)
        if profile is not None and not profile.learn_from_walk(walk, gradients[0]):
            return gradients
        stranded = [each for each in cut(walk).stranded if each.leaf is not self._points]
        return with_zero_gradients(gradients, stranded)


def efficient_double_backward(
    critic: Callable[..., Any] | None = None,
) -> EfficientDoubleBackward:
    """A context to call a function in whose gradient will be differentiated again.

    It is what the penalties use, for everybody: force fields, differential equations, R1 of one's
    own, meta-learning. Layers are called that are cheap to differentiate twice: convolutions
    (:func:`efficient_convolutions`) and smooth activations (``layers/activations.py``), attention
    and recurrent networks by backends that can be (:func:`twice_differentiable_backends`);
    ``prune`` cuts the paths of the double backward on which all is zero
    (:func:`prune_zero_paths`).

        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        ... )
        >>> x = torch.randn(8, 2, requires_grad=True)
        >>> with efficient_double_backward(critic) as double_backward:
        ...     scores = critic(x)
        >>> (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        >>> gradients = double_backward.prune(gradients)
        >>> gradients.square().sum().backward()

    Args:
        critic: what is called, a module or a function, to remember from call to call what pays;
            without it, everything is looked for every time. Small layers are left to PyTorch.

    Gradients: those that PyTorch gives, up to rounding, to any order; see the three parts.
    """
    if critic is None:
        return EfficientDoubleBackward()
    module = critic if isinstance(critic, torch.nn.Module) else None
    return EfficientDoubleBackward(profile_of(critic, module, memory_of(critic, module)))


@contextmanager
def twice_differentiable_backends() -> Iterator[None]:
    """A context in which attention and recurrent networks can be differentiated twice.

    Without it, ``F.scaled_dot_product_attention``, and with it ``nn.MultiheadAttention`` and the
    transformers, stop with "derivative ... is not implemented" on every device, and ``nn.LSTM``,
    ``nn.GRU`` and ``nn.RNN`` with cuDNN's "Double backwards is not supported". It is enough to call
    the critic in it:

        >>> attention = torch.nn.functional.scaled_dot_product_attention
        >>> x = torch.randn(2, 5, 8, requires_grad=True)
        >>> with twice_differentiable_backends():
        ...     scores = attention(x, x, x).sum()
        >>> (gradients,) = torch.autograd.grad(scores, x, create_graph=True)
        >>> gradients.square().sum().backward()

    Attention switches to matrix products and a softmax, in the whole process for as long as the
    context lasts; the recurrent networks that this thread calls switch to PyTorch's own. All
    switches are restored on leaving. What ``torch.utils.checkpoint`` computes again later, it
    computes by the same backends.
    """
    with plain_attention(on_cpu=False), Replacing([ATTENTION, RECURRENT]):
        yield
