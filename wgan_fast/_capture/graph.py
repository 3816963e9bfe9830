"""One captured graph: what it is made for, how it runs, and whom its gradients belong to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._torch_internals import unflatten
from .choose import choose
from .data_parallel import through_wrappers
from .errors import refuse
from .first_call import FirstRun, Function, record
from .hand_over import HandOver
from .replay import Run
from .report import GraphReport
from .signature import AUTOCAST_DEVICES, Settings, aliases
from .simplify import simplified
from .unchanged import Before
from .watch import Watch

#: Stands where a function returned a tensor.
_TENSOR = object()


class ConditionError(Exception):
    """What was proved when a graph was recorded does not hold in a call."""


class Call(NamedTuple):
    """What is looked at of a call, before a graph is taken for it.

    Attributes:
        settings: PyTorch's.
        described: the arguments.
        structure: theirs.
        aliases: which of them are the same tensor.
    """

    settings: Settings
    described: list[Any]
    structure: Any
    aliases: Any


class Graph:
    """A function and its gradients, captured for one kind of call.

    Args:
        call: which kind.
        watch: what the function reads from elsewhere.
    """

    def __init__(self, call: Call, watch: Watch) -> None:
        self.call = call
        self.watch = watch
        #: Whether it may look at what the function has proved at each call.
        self.may_have_conditions = True
        #: Why calls of this kind run eagerly; empty if they do not.
        self.why_eager = ""
        self.runs = 0
        self._run: Run | None = None
        self._constants: list[Tensor] = []
        self._trained: list[bool] = []
        self._places: list[int] = []

    def fits(self, call: Call) -> bool:
        """Whether this graph does what the function would do in a call."""
        if call != self.call or not (self.watch.holds() or self.watch.accept_equal()):
            return False
        if [tensor.requires_grad for tensor in self._constants] != self._trained:
            return False
        if [tensor.data_ptr() for tensor in self._constants] != self._places:
            return self._moved()
        return True

    def _moved(self) -> bool:
        """Whether the constants, which lie elsewhere than before, are of the same shape."""
        if list(map(_layout, self._constants)) != self._layouts:
            return False
        self._places = [tensor.data_ptr() for tensor in self._constants]
        moved = getattr(self._run, "moved", None)
        if moved is not None:
            moved()
        return True

    def capture(
        self, function: Function, values: list[Any], first: FirstRun, executor: str
    ) -> None:
        """Records the function, and chooses how to run it.

        Raises:
            CaptureError: if that is impossible.
        """
        begin = time.perf_counter()
        if first.is_sharded:
            raise refuse(
                "a module is sharded by FSDP, which gathers its weights for each pass and lets go "
                "of them: a graph would read what is not there."
            )
        self._select(values)
        inputs = self._inputs(values)
        arguments = function, values, self.call.structure, first, self.watch
        conditions: list[Tensor] | None = [] if self.may_have_conditions else None
        tape, owners, result = record(*arguments, conditions)
        # To look at them would wait for any device but the CPU.
        if conditions and not all(each.is_cpu and bool(each) for each in conditions):
            conditions = None
            tape, owners, result = record(*arguments, None)
        self._conditions = len(conditions or ())
        tape = simplified(tape)
        self._autocast = [kind for kind, *_ in self.call.settings[-1]]
        self._returned = [_TENSOR if isinstance(v, Tensor) else v for v in result.values]
        self._structure = result.structure
        self._is_alone = result.is_alone
        self._logged = sum(isinstance(value, Tensor) for value in result.values) - 1
        gradients = tape.outputs[1 + self._logged : len(tape.outputs) - self._conditions]
        self._owners = [o for o, g in zip(owners, gradients, strict=False) if g is not None]
        self._trained_inputs = self._wanted(values, gradients[len(owners) :])
        self._wrappers = first.wrappers
        with self._without_autocast():
            choice = choose(tape, inputs, executor)
        self._constants = list(tape.constants.values())
        self._trained = [tensor.requires_grad for tensor in self._constants]
        self._places = [tensor.data_ptr() for tensor in self._constants]
        self._tape = tape
        self._layouts = list(map(_layout, self._constants))
        loss, *rest = tape.outputs
        others = {*tape.inputs, *tape.constants, *(slot for slot in rest if slot is not None)}
        #: Whether the loss is another name of something else that the caller has, or gets.
        self._shares = loss is not None and tape.storage[loss] in {
            tape.storage[slot] for slot in others
        }
        self._run = choice.run
        self._report = GraphReport(
            choice.run.name,
            choice.seconds,
            choice.left_out,
            time.perf_counter() - begin,
            len(tape.calls),
            tape.bytes,
            0,
        )

    def hand_over_first(self, first: FirstRun) -> Any:
        """What the first call returns, in which nothing was replayed."""
        if not first.gradients:  # it has its own graph, or needs none
            return unflatten(first.result.values, first.result.structure)
        loss, gradients = first.result.loss, first.gradients
        owners = [*first.leaves, *first.inputs]
        if first.wrappers:  # the loss has the graph of all but the arguments
            owners = [loss, *first.inputs]
            loss, gradients = loss.detach(), [torch.ones_like(loss), *gradients]
        pairs = [(o, g) for o, g in zip(owners, gradients, strict=True) if g is not None]
        known = [gradient for _, gradient in pairs]
        handed = HandOver.apply(lambda _: [loss, *known], (), [], 0, *(o for o, _ in pairs))
        return unflatten([handed, *first.result.values[1:]], first.result.structure)

    def __call__(self, values: list[Any]) -> Any:
        """Runs the graph for the arguments of a call that it fits."""
        self.runs += 1
        apart = self._autocast or self._shares or self._conditions
        run = self._run_apart if apart else self._run
        assert run is not None
        inputs = values if self._all else self._inputs(values)
        logged: list[Tensor] = []
        owners = self._owners
        if self._trained_inputs:
            owners = [*owners, *(values[index] for index in self._trained_inputs)]
        if not owners:
            with torch.no_grad():
                loss, *logged = run(inputs)
        elif self._wrappers:
            loss = through_wrappers(
                self._wrappers,
                lambda: HandOver.apply(run, inputs, logged, self._logged, *owners),
            )
        else:
            loss = HandOver.apply(run, inputs, logged, self._logged, *owners)
        if self._is_alone:
            return loss
        rest = iter([loss, *logged])
        returned = [next(rest) if value is _TENSOR else value for value in self._returned]
        return unflatten(returned, self._structure)

    def report(self) -> GraphReport:
        if self.why_eager:
            return GraphReport("eager", {}, {"captured": self.why_eager}, 0.0, 0, 0, self.runs)
        return self._report._replace(runs=self.runs)

    def _select(self, values: list[Any]) -> None:
        """Which of the values are the graph's inputs: the tensors, each once."""
        same = aliases(values)
        firsts = range(len(values)) if same is None else sorted(set(same))
        self._positions = [i for i in firsts if isinstance(values[i], Tensor)]
        self._all = self._positions == list(range(len(values)))

    def _inputs(self, values: list[Any]) -> Sequence[Tensor]:
        return [values[index] for index in self._positions]

    def _wanted(self, values: list[Any], gradients: list[Any]) -> list[int]:
        """The positions of the arguments that get a gradient."""
        trained = [
            i for i in self._positions if torch.is_grad_enabled() and values[i].requires_grad
        ]
        return [i for i, g in zip(trained, gradients, strict=False) if g is not None]

    def _run_apart(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Runs without autocast, for what was recorded has been converted already; gives a loss
        that is nothing else; and looks at the conditions.

        Raises:
            ConditionError: if one does not hold; then nothing has changed.
        """
        assert self._run is not None
        before = Before(self._tape, inputs) if self._conditions else None
        with self._without_autocast():
            loss, *rest = self._run(inputs)
        if before is not None:
            conditions = rest[len(rest) - self._conditions :]
            rest = rest[: len(rest) - self._conditions]
            if not all(map(bool, conditions)):
                before.restore()
                raise ConditionError
        return [loss.clone() if self._shares else loss, *rest]

    def _without_autocast(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        for kind in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        return stack


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
