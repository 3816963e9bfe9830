"""The first call with arguments of a kind: run as ever, and then once more to be recorded."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._arguments import describe
from .._being_captured import capturing
from .._penalise.chunks import leaves_of
from .._penalise.randomness import Randomness
from .._penalise.state import State
from .._torch_internals import flatten, without_hooks
from .called import Called
from .data_parallel import bypassing
from .draws import GivenGenerators
from .errors import CaptureError, explain, refuse
from .recording import Recording, recording
from .signature import AUTOCAST_DEVICES, aliases, join, tensors_of
from .tape import Tape
from .watch import Watch, is_same

Function = Callable[..., Any]


class Result(NamedTuple):
    """What a function returned: its values, the first of them the loss, their structure, and
    whether it was the loss and nothing else."""

    values: list[Any]
    structure: Any
    is_alone: bool

    @property
    def loss(self) -> Tensor:
        return self.values[0]


@dataclass
class FirstRun:
    """What the first run of a function gave, and told.

    Attributes:
        result: its values are detached, except where the loss was handed out as it is.
        leaves: what the loss depends on, arguments excepted.
        gradients: of these, and of the arguments that require one, in this order; where the loss
            was handed out as it is, of the arguments alone.
        inputs: the arguments that require a gradient.
        modules: those that were called, none of which is in another.
        wrappers: those of DistributedDataParallel that were called.
        is_sharded: whether one was sharded by FSDP, which gathers and lets go of its weights.
        generators: random generators that were given to what draws.
    """

    result: Result
    leaves: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor | None] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)
    wrappers: list[nn.Module] = field(default_factory=list)
    is_sharded: bool = False
    generators: list[Any] = field(default_factory=list)


def run_first(function: Function, values: list[Any], structure: Any) -> FirstRun:
    """Runs a function as it is, and differentiates it.

    The loss of a critic in DistributedDataParallel or FSDP has its own graph, for that is what
    averages the gradients; the copies of the arguments are cut off from where these come from.

    Raises:
        CaptureError: if the gradient of an argument would have to be computed by FSDP twice.
    """
    copies = _copies(values)
    # The function may have one of them require a gradient itself, which is then its own affair.
    pairs = [(c, v) for c, v in zip(copies, values, strict=True) if _is_trained(c)]
    wanted = {id(copy): (copy, value) for copy, value in pairs}
    called, given = Called(), GivenGenerators()
    with called, given:
        args, kwargs = join(copies, structure)
        result = _checked(function(*args, **kwargs))
    first = FirstRun(
        result,
        modules=called.roots(),
        wrappers=called.wrappers(),
        is_sharded=called.has_sharded(),
        generators=given.found,
    )
    if not result.loss.requires_grad:
        return first
    first.inputs = [value for _, value in wanted.values()]
    first.leaves = [leaf for leaf in _leaves(result.loss) if id(leaf) not in wanted]
    if first.is_sharded and first.inputs:  # their gradients would take a backward pass of its own
        raise CaptureError(
            "a module is sharded by FSDP, and an argument requires a gradient: such a function "
            "cannot be captured, nor with fallback=True. Call the function itself."
        )
    copies = [copy for copy, _ in wanted.values()]
    has_own_graph = bool(first.wrappers) or first.is_sharded
    differentiated = copies if has_own_graph else [*first.leaves, *copies]
    with _without_autocast():
        first.gradients = _gradients(result.loss, differentiated, retain_graph=has_own_graph)
    if not has_own_graph:
        result.values[0] = result.loss.detach()
    return first


def record(
    function: Function,
    values: list[Any],
    structure: Any,
    first: FirstRun,
    watch: Watch,
    conditions: list[Tensor] | None,
) -> tuple[Tape, list[Tensor], Result]:
    """Records a function and its gradients; afterwards everything is as it was.

    Args:
        function: which.
        values, structure: its arguments.
        first: what its first run told.
        watch: what it reads from elsewhere.
        conditions: gets what has to be true at every call; None if nobody will look.

    Returns:
        The tape, of which the outputs are the loss, the tensors that are returned beside it, the
        gradients, and the conditions; the leaves that gradients belong to, before those of the
        arguments; and what the function returned.

    Raises:
        CaptureError: if it cannot be recorded, or does something else when it is called again.
    """
    arguments = function, values, structure, first, watch
    mode = Recording(first.generators)
    owners, result = _recorded(*arguments, conditions, mode)
    again = Recording(first.generators, expected=mode)
    _recorded(*arguments, None if conditions is None else [], again)
    mode.check_end(len(again.tape.calls))
    return mode.tape, owners, result


def _recorded(
    function: Function,
    values: list[Any],
    structure: Any,
    first: FirstRun,
    watch: Watch,
    conditions: list[Tensor] | None,
    mode: Recording,
) -> tuple[list[Tensor], Result]:
    """One run of the function, recorded by a mode."""
    states = [State(module) for module in first.modules]
    kept = [generator for state in states for generator in state.generators]
    randomness = Randomness([*tensors_of(values), *first.leaves], kept)
    copies = _copies(values)
    unique = {id(copy): copy for copy in tensors_of(copies)}
    for copy in unique.values():
        mode.add_input(copy)
    trained = [copy for copy in unique.values() if copy.requires_grad]
    before = _python_random()
    try:
        with (
            capturing(mode, conditions),
            _fresh_autocast_cache(),
            recording(mode),
        ):
            with bypassing(first.wrappers):
                args, kwargs = join(copies, structure)
                result = _checked(function(*args, **kwargs))
            owners, gradients = _differentiated(result.loss, first.leaves, trained)
            _carry_over(mode, watch)
        mode.check_draws()
    except CaptureError:
        raise
    except Exception as error:
        raise explain(error) from error
    finally:
        drawn = _python_random()[: len(before)] != before
        for state in states:
            state.restore()
        watch.put_back(mode.is_constant)
        mode.restore()
        randomness.restore()
    if drawn:
        raise refuse(
            "the function draws from Python's or NumPy's random numbers, which would be the same "
            "at every call; draw by torch.rand, or pass them as an argument."
        )
    outputs = [value for value in result.values if isinstance(value, Tensor)]
    mode.tape.outputs = [
        *(mode.slot_of(output) for output in outputs),
        *(None if each is None else mode.slot_of(each) for each in gradients),
        *map(mode.slot_of, conditions or ()),
    ]
    return owners, result


def _differentiated(
    loss: Tensor, outside: list[Tensor], inputs: list[Tensor]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """The leaves from outside that a loss depends on, and their gradients and the arguments'."""
    if not loss.requires_grad:
        return [], []
    known = set(map(id, outside))  # what was made inside is another one at every run
    owners = [leaf for leaf in _leaves(loss) if id(leaf) in known]
    with _without_autocast():
        return owners, _gradients(loss, [*owners, *inputs])


def _leaves(loss: Tensor) -> list[Tensor]:
    return [loss] if loss.is_leaf else leaves_of(loss)


def _gradients(
    loss: Tensor, wanted: list[Tensor], *, retain_graph: bool = False
) -> list[Tensor | None]:
    """The gradients, before hooks of the leaves get them: these are called by ``backward()``."""
    if not wanted:
        return []
    if loss.is_leaf:
        return [torch.ones_like(loss) if each is loss else None for each in wanted]
    with without_hooks(wanted, loss):
        return list(torch.autograd.grad(loss, wanted, retain_graph=retain_graph, allow_unused=True))


def _copies(values: list[Any]) -> list[Any]:
    """The values, their tensors cut off from the graphs that they come from."""
    graph = torch.is_grad_enabled()
    copies = [
        value.detach().requires_grad_(graph and value.requires_grad)
        if isinstance(value, Tensor)
        else value
        for value in values
    ]
    same = aliases(values)
    return copies if same is None else [copies[index] for index in same]


def _is_trained(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _checked(returned: Any) -> Result:
    """What a function returned must be a scalar, or a scalar and what has no graph."""
    values, structure = flatten(returned)
    loss = values[0] if values else None
    what = (
        "a captured function must return a scalar tensor, or one followed by what is to be logged"
    )
    if not isinstance(loss, Tensor) or not loss.dtype.is_floating_point:
        raise TypeError(f"{what}, but it returned {describe(loss)}")
    if loss.dim() > 0:
        raise ValueError(f"{what}, but it returned {describe(loss)}; take its mean")
    for value in values[1:]:
        if _is_trained(value):
            raise ValueError(
                f"{what}; only the first has a gradient: detach the tensor of shape "
                f"{list(value.shape)} that it returned beside it"
            )
    return Result(values, structure, values[0] is returned)


@contextlib.contextmanager
def _fresh_autocast_cache() -> Iterator[None]:
    """A context in which autocast converts weights anew: nothing that is converted already is used
    in it, nor is what it converts used later."""
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.clear_autocast_cache()


@contextlib.contextmanager
def _without_autocast() -> Iterator[None]:
    """A context for a backward pass, which belongs outside of autocast."""
    with contextlib.ExitStack() as stack:
        for kind in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _python_random() -> list[Any]:
    """The states of Python's random numbers, and of NumPy's, if somebody has loaded it."""
    numpy = sys.modules.get("numpy.random")
    return [random.getstate(), *([repr(numpy.get_state(legacy=False))] if numpy else [])]


def _carry_over(mode: Recording, watch: Watch) -> None:
    """Has the graph do what a function does by giving names other values.

    Where a module reads a tensor and puts another in its place, such as an average of its own, the
    graph changes the tensor itself.
    """
    with torch.no_grad():
        for place, tensor in watch.tensors():
            now = place.read()
            if isinstance(now, Tensor) and now is not tensor and mode.is_constant(tensor):
                if now.shape != tensor.shape or now.dtype != tensor.dtype:
                    raise refuse(f"{place.label} gets another shape or dtype at every call.")
                tensor.copy_(now.detach())
    for place, number in watch.numbers():
        now = place.read()
        if type(now) is type(number) and not is_same(now, number):
            raise refuse(
                f"{place.label} changes from {number} to {now} in a call, and would not in a "
                "graph: count outside of the function, or in a tensor."
            )
