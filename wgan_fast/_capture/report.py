"""What was captured, for people."""

from __future__ import annotations

from typing import NamedTuple


class GraphReport(NamedTuple):
    """One graph.

    Attributes:
        executor: what runs it: "replay", "inductor" or "cuda_graph"; "eager" if it could not be
            captured.
        seconds: of one call, by executor, for those that were timed.
        left_out: why other executors were not, by executor; why it could not be captured, for
            "eager".
        capture_seconds: how long it took to capture, with compiling and timing.
        calls: of PyTorch's operators, in the graph.
        bytes: that these read and write.
        runs: how often it has run.
    """

    executor: str
    seconds: dict[str, float]
    left_out: dict[str, str]
    capture_seconds: float
    calls: int
    bytes: int
    runs: int


class Report(NamedTuple):
    """What a captured function has done so far; printed, it is a table.

    Attributes:
        graphs: in the order of capture.
        eager_calls: how many calls ran eagerly because there were too many graphs already.
        why_eager: what kept changing; empty if nothing did.
    """

    graphs: tuple[GraphReport, ...]
    eager_calls: int
    why_eager: str

    def __str__(self) -> str:
        lines = [_line(graph) for graph in self.graphs] or ["nothing has been captured yet"]
        if self.eager_calls:
            lines.append(f"{self.eager_calls} calls ran eagerly: {self.why_eager}")
        return "\n".join(lines)


def _line(graph: GraphReport) -> str:
    if graph.executor == "eager":
        return f"eager: {graph.left_out.get('captured', '')}"
    times = ", ".join(f"{name} {value * 1e3:.3g} ms" for name, value in graph.seconds.items())
    text = (
        f"{graph.executor}: {graph.calls} calls, {graph.bytes / 1e6:.3g} MB, captured in "
        f"{graph.capture_seconds:.2g} s, {graph.runs} runs ({times})"
    )
    for name, reason in graph.left_out.items():
        text += f"\n  without {name}: {reason}"
    return text
