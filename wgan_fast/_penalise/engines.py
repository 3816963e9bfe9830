"""Critics behind ``DistributedDataParallel`` and ``fully_shard``.

Both exchange gradients when their hooks in the backward pass tell that these are complete. The
double backward of a penalty does not come by all of the hooks, and by then FSDP has let go of the
weights that it needs. So the input gradient is connected to the rest of the critic's graph: a
backward pass goes there, too, with no gradient at all, and sets off the hooks that are left.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from .._per_critic import modules_behind
from .._torch_internals import function_of, has_hooks
from ..second_order._graph import leaves_of, nodes_of
from ..second_order.context import NoticingHooks


class Engines:
    """The wrappers for distributed training that are in a critic, during one penalty.

    Args:
        replicated: those of ``DistributedDataParallel``.
        sharded: the modules that ``fully_shard`` was called with.
        unknown: whether there may be more, because the critic's module is not known.
    """

    def __init__(
        self,
        replicated: Sequence[Any] = (),
        sharded: Sequence[Any] = (),
        *,
        unknown: bool = False,
    ) -> None:
        self._replicated, self._sharded, self._unknown = replicated, sharded, unknown
        #: What the last input gradient was connected to.
        self.ends: list[Tensor] = []

    @property
    def is_sharded(self) -> bool:
        return bool(self._sharded)

    def watching(self, call: NoticingHooks) -> AbstractContextManager[Any] | None:
        """A context for the critic's call, in which FSDP's own hooks are no hooks of the critic;
        None without FSDP."""
        return _KnowingHooks(call) if self._sharded else None

    def connected(self, gradients: Tensor, scores: Tensor, *, hooked: bool) -> Tensor:
        """The input gradients, whose backward pass sets off all hooks.

        Args:
            gradients: ``[B, *]``, which will be differentiated.
            scores: what they were computed from.
            hooked: whether there are hooks of the critic's own, which would not know what to do
                without a gradient. They get zeros.
        """
        if self._sharded:
            self.ends = [scores]
            if not hooked:
                _pass_nothing_on(scores)
        elif self._replicated:
            self.ends = [leaf for leaf in leaves_of(scores) if not has_hooks(leaf)]
        else:
            if self._unknown and any(_functions_of_fsdp(scores)):
                raise ValueError(
                    "module must be given where critic is a function that calls a module sharded "
                    "by fully_shard: PyTorch loses gradients of a penalty that does not know of it"
                )
            return gradients
        return _Connected.apply(gradients, self._sharded, hooked, *self.ends)

    def remember(self, *scores: Tensor) -> None:
        """Notes what else the hooks are behind."""
        if self._sharded:
            self.ends = list(scores)

    @contextmanager
    def without_reducers(self, critic: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
        """A context with the critic, to be called in the backward pass: for DistributedDataParallel
        that would be the beginning of the next iteration, so the modules in it are called."""
        with ExitStack() as stack:
            for wrapper in self._replicated:
                before = dict(vars(wrapper))  # it may have a forward of its own
                stack.callback(_set_back, wrapper, "forward", before)
                wrapper.forward = wrapper.module.__call__
            yield _looked_up_anew(critic)

    def check_recomputing(self) -> None:
        """Nothing of a sharded critic can be computed again in the backward pass.

        Raises:
            ValueError: if that was asked for.
        """
        if self._sharded and torch.is_grad_enabled():
            raise ValueError(
                "chunk_size must be None for a critic that is sharded by fully_shard, with "
                'reduction="none" or "max" or with hooks of its parameters: it would be called in '
                "the backward pass, and FSDP would lose its gradients. Take "
                'reduction="mean" or "sum", or smaller batches'
            )


NO_ENGINES = Engines()


def engines_of(
    critic: Callable[..., Any], module: nn.Module | None, *, create_graph: bool
) -> Engines:
    """The wrappers in a critic.

    Args:
        critic: what is called.
        module: the critic, if it is known.
        create_graph: whether it will be trained.

    Raises:
        ValueError: if it will be, and PyTorch would not average its gradients.
    """
    if torch.compiler.is_dynamo_compiling() or not dist.is_available() or not dist.is_initialized():
        return NO_ENGINES
    # What was not imported is not in use.
    fsdp_module = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", ())
    seen = modules_behind(critic, module)
    parts = dict.fromkeys(part for each in seen for part in each.modules())
    replicated = [part for part in parts if isinstance(part, DistributedDataParallel)]
    sharded = [part for part in parts if isinstance(part, fsdp_module)]
    if not replicated and not sharded:
        # A function may call more than can be seen.
        return NO_ENGINES if module is not None else Engines(unknown=bool(fsdp_module))
    if create_graph and any(part.static_graph for part in replicated):
        raise ValueError(
            "critic must not be DistributedDataParallel with static_graph=True: PyTorch would not "
            "average the gradients of a penalty over the processes, and would not tell. Leave "
            "static_graph out; or pass critic.module, in every call of the step, and average the "
            "gradients yourself, by torch.distributed.all_reduce of each after backward()"
        )
    return Engines(replicated, sharded)


class _Connected(torch.autograd.Function):
    """Input gradients that lead to some other ends, too."""

    passes_every_gradient = True

    @staticmethod
    def forward(
        ctx: Any, gradients: Tensor, sharded: Sequence[Any], hooked: bool, *ends: Tensor
    ) -> Tensor:
        ctx.sharded, ctx.count = sharded, len(ends)
        ctx.shape = ends[0].shape if hooked and sharded else None
        return gradients.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        for module in ctx.sharded:  # the double backward begins here, and needs the weights
            module.unshard()
        nothing = None if ctx.shape is None else grad.new_zeros(()).expand(ctx.shape)
        return grad, None, None, *[nothing] * ctx.count

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0]


def _pass_nothing_on(scores: Tensor) -> None:
    """FSDP's functions hand on nothing if nothing arrives: PyTorch would give them zeros, to be
    multiplied by every weight."""
    for node in _functions_of_fsdp(scores):
        if _QUIET not in node.metadata:
            node.metadata[_QUIET] = True
            node.register_hook(_nothing_for_nothing)


#: A gradient function's own mark that it was hooked before.
_QUIET = "wgan_fast.nothing_for_nothing"


def _nothing_for_nothing(grad_inputs: Any, grad_outputs: Any) -> Any:
    nothing = all(grad is None for grad in grad_outputs)
    return tuple(None for _ in grad_inputs) if nothing else grad_inputs


class _KnowingHooks(TorchFunctionMode):
    """While it is entered, the hooks that FSDP puts on tensors are counted."""

    def __init__(self, call: NoticingHooks) -> None:
        super().__init__()
        self._call = call

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.register_hook and _is_of_fsdp(type(getattr(args[1], "__self__", None))):
            self._call.known_hooks += 1
        return func(*args, **(kwargs or {}))


def _functions_of_fsdp(scores: Tensor) -> Iterator[Any]:
    for node in nodes_of(scores):
        function = function_of(node)
        if function is not None and _is_of_fsdp(function):
            yield node


def _is_of_fsdp(kind: type) -> bool:
    return kind.__module__.startswith("torch.distributed.fsdp.")


def _set_back(module: Any, name: str, before: dict[str, Any]) -> None:
    """One attribute of a module, as it was, or gone as it was."""
    delattr(module, name)
    if name in before:
        setattr(module, name, before[name])


def _looked_up_anew(critic: Callable[..., Any]) -> Callable[..., Any]:
    """The critic; where it is a method of DistributedDataParallel, or a partial of one, the method
    that this has now."""
    if isinstance(critic, functools.partial):
        partial = functools.partial(_looked_up_anew(critic.func), *critic.args, **critic.keywords)
        alike = getattr(critic, "calling", None)  # of several tensors, which it takes apart
        return partial if alike is None else alike(partial)
    owner = getattr(critic, "__self__", None)
    if isinstance(owner, DistributedDataParallel):
        return getattr(owner, getattr(critic, "__name__", "forward"))
    return critic
