"""A loss with its gradients as one graph, repeated from call to call."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any, overload

import torch

from ._arguments import check_bool, check_choice, describe
from ._being_captured import being_captured, has_turn, turn_to_capture
from ._capture import signature
from ._capture.choose import EXECUTORS
from ._capture.errors import CaptureError
from ._capture.first_call import run_first
from ._capture.graph import Call, ConditionError, Graph
from ._capture.methods import methods_of
from ._capture.recording import can_record
from ._capture.report import Report
from ._capture.watch import Watch
from ._penalise.warn import warn
from ._torch_internals import forward_mode_active, transforms_active

Loss = Callable[..., Any]


class Captured:
    """What :func:`captured` returns: call it as the function.

    Attributes:
        eager: the function itself.
    """

    #: What a captured function that calls this one depends on.
    _watched_by_captured = ("eager",)

    def __init__(self, loss: Loss, executor: str, max_graphs: int, fallback: bool) -> None:
        functools.update_wrapper(self, loss)
        self.eager = loss
        self._settings = executor, max_graphs, fallback
        self._graphs: list[Graph] = []
        self._last: Graph | None = None
        self._eager_calls = 0
        self._why_eager = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _is_seen_by_another():
            return self.eager(*args, **kwargs)
        values, structure = signature.split(args, kwargs)
        call = Call(
            signature.settings_now(),
            signature.described(values),
            structure,
            signature.aliases(values),
        )
        graph = self._last
        if graph is None or not graph.fits(call):
            graph = self._last = next((each for each in self._graphs if each.fits(call)), None)
            if graph is None:
                return self._first(call, values, args, kwargs)
        if graph.why_eager:
            graph.runs += 1
            return self.eager(*args, **kwargs)
        try:
            return graph(values)
        except ConditionError:
            return self._first(call, values, args, kwargs, refuted=graph)

    def report(self) -> Report:
        """Which graphs there are, what runs them, and how long each way took."""
        graphs = tuple(graph.report() for graph in self._graphs)
        return Report(graphs, self._eager_calls, self._why_eager)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method's graphs belong to its object, and live as long."""
        if instance is None or not hasattr(self.eager, "__get__"):
            return self
        if torch.compiler.is_compiling():  # it would give the object methods without graphs
            return functools.partial(self.eager, instance)
        bound = methods_of(instance)
        if self not in bound:
            bound[self] = Captured(self.eager.__get__(instance, owner), *self._settings)
        return bound[self]

    def __reduce__(self) -> Any:
        """A function of a module or class is told by its name, as functions are; anything else
        begins without graphs."""
        name = getattr(self, "__qualname__", "")
        try:
            found = operator.attrgetter(name)(sys.modules[self.__module__])
        except (AttributeError, KeyError):
            found = None
        return name if found is self else (_again, (self.eager, *self._settings))

    def __repr__(self) -> str:
        return f"captured({self.eager!r}, executor={self._settings[0]!r})"

    def _first(
        self,
        call: Call,
        values: list[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        refuted: Graph | None = None,
    ) -> Any:
        """A call for which there is no graph, or one of which a condition does not hold."""
        _, max_graphs, _ = self._settings
        if len(self._without(refuted)) >= max_graphs or not can_record():
            self._count_eager(call, len(values))
            return self.eager(*args, **kwargs)
        with turn_to_capture() as our_turn:
            if our_turn:
                return self._capture(call, values, refuted)
        return self.eager(*args, **kwargs)  # the next call of this kind is captured

    def _without(self, refuted: Graph | None) -> list[Graph]:
        return [graph for graph in self._graphs if graph is not refuted]

    def _capture(self, call: Call, values: list[Any], refuted: Graph | None) -> Any:
        executor, _, fallback = self._settings
        first = run_first(self.eager, values, call.structure)
        graph = Graph(call, Watch(self.eager, [*first.modules, *values]))
        graph.may_have_conditions = refuted is None
        try:
            graph.capture(self.eager, values, first, executor)
        except CaptureError as error:
            if not fallback:
                raise
            graph.why_eager = str(error)
            warn(f"{_name_of(self.eager)} runs eagerly, for it cannot be captured: {error}")
        self._graphs = [*self._without(refuted), graph]
        self._last = graph
        return graph.hand_over_first(first)

    def _count_eager(self, call: Call, count: int) -> None:
        self._eager_calls += 1
        if self._why_eager:
            return
        if not can_record():
            self._why_eager = "this PyTorch has no TorchDispatchMode"
        else:
            latest = self._graphs[-1]
            what = [
                *signature.changes(
                    [f"argument {index}" for index in range(count)],
                    (latest.call.settings, latest.call.described),
                    (call.settings, call.described),
                ),
                *latest.watch.changes(),
            ]
            self._why_eager = f"{', '.join(what[:5]) or 'the structure of its arguments'} changed"
        warn(
            f"{_name_of(self.eager)} runs eagerly from now on where none of its "
            f"{len(self._graphs)} graphs fits: {self._why_eager}. What changes at every call is to "
            "be a tensor; max_graphs allows for more graphs."
        )


def _is_seen_by_another() -> bool:
    """Whether somebody else records or transforms this call, who is to see the function itself."""
    return (
        torch.compiler.is_compiling()
        or has_turn()
        or being_captured()
        or transforms_active()
        or forward_mode_active()
    )


def _again(loss: Loss, *settings: Any) -> Captured:
    """A captured function from a file; a method that stands under its own name is one already."""
    return loss if isinstance(loss, Captured) else Captured(loss, *settings)


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


@overload
def captured(
    loss: Loss, *, executor: str = ..., max_graphs: int = ..., fallback: bool = ...
) -> Captured: ...


@overload
def captured(
    loss: None = ..., *, executor: str = ..., max_graphs: int = ..., fallback: bool = ...
) -> Callable[[Loss], Captured]: ...


def captured(
    loss: Loss | None = None,
    *,
    executor: str = "auto",
    max_graphs: int = 8,
    fallback: bool = False,
) -> Captured | Callable[[Loss], Captured]:
    """The same function, whose value and gradients come from one graph.

    The first call with arguments of a kind runs the function as it is, and then again to record
    all that PyTorch does: forward, backward and double backward passes. Later calls repeat that,
    without autograd and without Python in between; ``backward()`` hands the gradients over.

    Args:
        loss: a function of tensors, or of nested tuples, lists and dicts of tensors and of values
            that can be hashed. It returns a scalar, or a tuple or dict of which the first value is
            that scalar, and the others are detached, to be logged. A function, a method or a
            module.
        executor: "replay" repeats PyTorch's calls; "inductor" compiles them, which takes seconds to
            minutes; "cuda_graph" launches all of them at once; "auto" times those that this machine
            has, and keeps the fastest. :meth:`Captured.report` tells which.
        max_graphs: for so many kinds of calls there is a graph; others run eagerly, with one
            warning that says what keeps changing.
        fallback: run a function eagerly that cannot be captured, with one warning, instead of
            raising an error.

    Returns:
        :class:`Captured`, to be called as the function; without ``loss``, a decorator.

    Raises:
        TypeError: if an argument has the wrong type; when called, if one is neither a dense tensor
            nor can be hashed, or the function returns no floating tensor first.
        ValueError: if there is no such executor, or ``max_graphs`` is below 1; when called, if the
            function returns no scalar, or beside it a tensor with a graph.
        RuntimeError: when called, if the function cannot be captured: if it looks at the values of
            tensors, changes an argument in place, draws from Python's or NumPy's random numbers or
            calls ``backward()``. The message names its line, or where that cannot be known, the
            line of the call.

    Gradients: of the result with respect to everything that it depends on, arguments among it, to
        the first order. They reach leaves as ever: accumulated, scaled, by hooks, averaged by
        DistributedDataParallel. Under ``torch.no_grad()`` there is a graph of the value alone.

    Numerics: "replay" gives what the function gives, to the last bit, with the same random numbers
        for the same seed; "inductor" rounds otherwise. Parameters, buffers and other tensors are
        read where they lie, so that an optimiser's steps count; and buffers change as ever.

    Source: docs/captured.md tells what is captured anew, and what cannot be captured.

    Example:
        >>> from wgan_fast import fast_gradient_penalty
        >>> critic = torch.nn.Sequential(
        ...     torch.nn.Linear(2, 64), torch.nn.LeakyReLU(0.2), torch.nn.Linear(64, 1)
        ... )
        >>> @captured(executor="replay")
        ... def critic_loss(real, fake):
        ...     penalty = fast_gradient_penalty(critic, real, fake)
        ...     return critic(fake).mean() - critic(real).mean() + penalty
        >>> for _ in range(3):
        ...     real, fake = torch.randn(2, 256, 2)
        ...     loss = critic_loss(real, fake)
        ...     loss.backward()
        >>> [graph.executor for graph in critic_loss.report().graphs]
        ['replay']
    """
    check_choice(executor, "executor", EXECUTORS)
    check_bool(fallback, "fallback")
    if isinstance(max_graphs, bool) or not isinstance(max_graphs, int):
        raise TypeError(f"max_graphs must be an integer, but it is {describe(max_graphs)}")
    if max_graphs < 1:
        raise ValueError(f"max_graphs must be at least 1, but it is {max_graphs}")
    if loss is None:
        return functools.partial(_made, executor, max_graphs, fallback)
    return _made(executor, max_graphs, fallback, loss)


def _made(executor: str, max_graphs: int, fallback: bool, loss: Loss) -> Captured:
    if not callable(loss):
        raise TypeError(f"loss must be callable, but it is {describe(loss)}")
    return Captured(loss, executor, max_graphs, fallback)
