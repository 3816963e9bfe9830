"""The calls of a tape, compiled by Inductor: fewer passes over memory, after much compiling."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from .._torch_internals import compile_graph
from ..ops._op import REGISTRY
from .errors import CaptureError
from .tape import Call, Slot, Tape, map_slots

#: That of 2.11 makes several draws in another order than the graph: they would not be eager's.
DRAWS_IN_ORDER = torch.__version__ >= "2.13"


class Inductor:
    """A compiled tape. Constants are arguments of the compiled function, so it reads them where
    they lie.

    Args:
        tape: the calls.
        inputs: arguments to compile for.
    """

    name = "inductor"

    def __init__(self, tape: Tape, inputs: Sequence[Tensor]) -> None:
        if not DRAWS_IN_ORDER and sum(call.is_random for call in tape.calls) > 1:
            raise CaptureError("Inductor changes the order of draws before torch 2.13")
        self._constants = list(tape.constants.values())
        with torch.no_grad():
            given = [*inputs, *self._constants]
            self._run = compile_graph(_in_plain_pytorch(tape, given), given)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return list(self._run(*inputs, *self._constants))


def _in_plain_pytorch(tape: Tape, given: Sequence[Tensor]) -> fx.GraphModule:
    """The calls, the library's operators as PyTorch computes them, in the dtype that the kernels
    compute in: Inductor merges these with what stands around them, and would call the kernels one
    by one."""
    graph = as_module(tape)
    formulas = {op.overload: op.pytorch for op in REGISTRY.values()}
    if not any(call.op in formulas for call in tape.calls):
        return graph
    return make_fx(graph, decomposition_table=formulas)(*given)


def as_module(tape: Tape) -> fx.GraphModule:
    """The same calls as an ``fx`` graph, of the arguments and the constants."""
    graph = fx.Graph()
    nodes: dict[int, fx.Node] = {}
    for slot in (*tape.inputs, *tape.constants):
        nodes[slot] = graph.placeholder(f"t{slot}")
    for call in tape.calls:
        _add(call, graph, nodes)
    graph.output([nodes[slot] for slot in tape.outputs if slot is not None])
    return fx.GraphModule(torch.nn.Module(), graph)


def _add(call: Call, graph: fx.Graph, nodes: dict[int, fx.Node]) -> None:
    def node_of(slot: Slot) -> Any:
        return nodes[slot.index]

    node = graph.call_function(
        call.op, map_slots(node_of, call.args), map_slots(node_of, call.kwargs)
    )
    if not call.several:
        if call.outputs[0] is not None:
            nodes[call.outputs[0]] = node
        return
    for index, output in enumerate(call.outputs):
        if output is not None:
            nodes[output] = graph.call_function(operator.getitem, (node, index))
