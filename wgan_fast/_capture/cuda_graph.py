"""The calls of a tape as one CUDA graph: one launch for all of them.

The graph reads its arguments from memory of its own, where each call puts them. What is computed on
the CPU, such as the seed of the mixing factors, is computed anew before each launch, and put into
memory on the device likewise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .replay import Replay, Run
from .tape import Call, Tape
from .unchanged import unchanged

#: Makes a graph of a function of tensors: its results, which every launch overwrites, and a launch.
Record = Callable[[Run, list[Tensor], list[Any]], tuple[list[Tensor], Callable[[], None]]]

#: What is called before a graph is recorded, for libraries to make their plans and workspaces.
_WARM_UP = 3


def record_on_cuda(
    run: Run, inputs: list[Tensor], generators: list[Any]
) -> tuple[list[Tensor], Callable[[], None]]:
    """A CUDA graph, warmed up on a stream beside, with memory from a pool of its own."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            run(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        outputs = run(inputs)
    return outputs, graph.replay


class CudaGraph:
    """A tape in a CUDA graph.

    Args:
        tape: the calls.
        inputs: arguments to record with.
        device: the type of the device that the graph runs on.
        record: makes the graph.

    Raises:
        ValueError: if the tape does not fit into a graph; :func:`why_not` tells.
    """

    name = "cuda_graph"

    def __init__(
        self,
        tape: Tape,
        inputs: Sequence[Tensor],
        device: str = "cuda",
        record: Record = record_on_cuda,
    ) -> None:
        reason = why_not(tape, device)
        if reason:
            raise ValueError(reason)
        self._record = record
        self._tape = tape
        host, self._inside = split(tape, device)
        self._host = Replay(host)
        self._given = [i for i, slot in enumerate(tape.inputs) if slot in self._inside.inputs]
        self._launch: Callable[[], None] | None = None
        self._prepare(inputs, torch.device(device))

    def _prepare(self, inputs: Sequence[Tensor], device: torch.device) -> None:
        """Makes memory for what the graph reads."""
        crossing = self._host(inputs)[: len(self._inside.inputs) - len(self._given)]
        given = [inputs[index] for index in self._given]
        known = (*given, *self._inside.constants.values())
        on_device = next((t.device for t in known if t.device.type == device.type), device)
        self._static = [torch.empty_like(each, device=on_device) for each in (*given, *crossing)]

    def moved(self) -> None:
        """Parameters lie elsewhere: the graph has to be recorded anew."""
        self._host.moved()
        self._launch = None

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        from_host = self._host(inputs)
        crossing = len(self._static) - len(self._given)
        with torch.no_grad():
            given = [inputs[index] for index in self._given]
            for static, value in zip(self._static, (*given, *from_host[:crossing]), strict=True):
                static.copy_(value, non_blocking=True)
            if self._launch is None:
                self._record_now()
            assert self._launch is not None
            self._launch()
            # The next launch writes over them.
            results = iter([output.clone() for output in self._outputs])
        others = iter(from_host[crossing:])
        inside = set(self._inside.outputs)
        slots = [slot for slot in self._tape.outputs if slot is not None]
        return [next(results) if slot in inside else next(others) for slot in slots]

    def _record_now(self) -> None:
        with unchanged(self._inside, self._static):
            run = Replay(self._inside)
            self._outputs, self._launch = self._record(run, self._static, self._inside.generators())


def split(tape: Tape, device: str) -> tuple[Tape, Tape]:
    """What comes before a graph, on the CPU, and the graph.

    The outputs of the first are what the graph reads of it, which are the last inputs of the
    second, and then the outputs of the whole that are its own.
    """
    host = {s for s in (*tape.inputs, *tape.constants) if tape.devices[s] != device}
    before, inside = [], []
    made: set[int] = set()
    for call in tape.calls:
        outputs = {o for o in call.outputs if o is not None}
        if _is_before(call, tape, host, device):
            before.append(call)
            host |= outputs
            made |= outputs
        else:
            inside.append(call)
    read = {slot for call in inside for slot in call.inputs()}
    given = [slot for slot in tape.inputs if slot not in host or slot in read]
    crossing = sorted(read & made)
    own = [slot for slot in tape.outputs if slot in host]
    return (
        dataclasses.replace(tape, calls=before, outputs=[*crossing, *own]),
        dataclasses.replace(
            tape,
            calls=inside,
            inputs=[*given, *crossing],
            outputs=[slot for slot in tape.outputs if slot is not None and slot not in host],
        ),
    )


def _is_before(call: Call, tape: Tape, host: set[int], device: str) -> bool:
    """Whether a call depends on nothing that is on the device."""
    inputs = call.inputs()
    if inputs:
        return host.issuperset(inputs)
    return all(o is not None and tape.devices[o] != device for o in call.outputs)


def why_not(tape: Tape, device: str = "cuda") -> str:
    """Why a tape does not fit into a graph; empty if it does.

    Nothing in it depends on values, or it would not have been recorded. What remains is that it
    must not wait for the device, to copy something from there.
    """
    if not any(kind == device for kind in tape.devices):
        return f"it needs tensors on a {device} device"
    _, inside = split(tape, device)
    for call in inside.calls:
        for output in call.outputs:
            if output is not None and tape.devices[output] != device:
                return f"{call.op.name()} copies from the device to the {tape.devices[output]}"
    for slot, constant in tape.constants.items():
        if constant.device.type != device and slot in inside.constants:
            read = any(slot in call.inputs() for call in inside.calls)
            if read and constant.dim() > 0:
                return f"it reads a tensor of shape {list(constant.shape)} on the CPU"
    return ""
