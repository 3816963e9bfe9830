"""The table of docs/distributed.md: which engine can do what, measured with two processes.

    python -m tests.distributed.table            prints it
    python -m tests.distributed.table --write    puts it into the page

A number is the largest relative difference of a weight to one process, after three steps of Adam.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tools import pages
from wgan_fast import captured, fast_gradient_penalty

from .processes import Processes
from .test_fully_shard import sharded
from .test_tensor_parallel import parallel
from .training import BY_DIFFERENCES, Backward, critic_of, mean_of_penalties, trained, trained_here

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
KIND = "smooth"
#: What each refusal has in it.
REASONS = ("static_graph", "fully_shard", "difference", "sharded by FSDP")
REFUSED, CAPTURED = "refused", "`captured`"


def _replicated(**options: Any) -> Callable[[], nn.Module]:
    return lambda: DistributedDataParallel(critic_of(KIND), **options)


ENGINES: dict[str, Callable[[], nn.Module]] = {
    "`DistributedDataParallel`": _replicated(),
    "with `find_unused_parameters`": _replicated(find_unused_parameters=True),
    "with `gradient_as_bucket_view`": _replicated(gradient_as_bucket_view=True),
    "with `static_graph`": _replicated(static_graph=True),
    "`fully_shard`, the critic": lambda: sharded(critic_of(KIND), by_layer=False),
    "`fully_shard`, layer by layer": lambda: sharded(critic_of(KIND), by_layer=True),
    "tensor parallel": lambda: parallel(KIND),
}

#: By column: the order of the loss's parts, and the penalty.
FEATURES: dict[str, tuple[str, Any]] = {
    "exact": ("penalty first", fast_gradient_penalty),
    "penalty alone": ("penalty alone", fast_gradient_penalty),
    "`chunk_size`": ("penalty first", partial(fast_gradient_penalty, chunk_size=3)),
    '`chunk_size`, `"none"`': ("penalty first", partial(mean_of_penalties, chunk_size=3)),
    "finite differences": ("penalty first", BY_DIFFERENCES),
    "`critic_loss`": ("critic_loss", fast_gradient_penalty),
    CAPTURED: ("penalty first", fast_gradient_penalty),
}


def in_one_graph() -> Backward:
    """The backward pass of a loss that is captured at its first call."""
    graphs: dict[Any, Any] = {}

    def differentiate(loss: Callable[..., Tensor], *batch: Tensor) -> None:
        graph = graphs.setdefault(loss, captured(loss, executor="replay"))
        graph(*batch).backward()

    return differentiate


def difference(engine: str, feature: str) -> float | None:
    """To one process, relative to each weight's largest entry; None if it is refused."""
    order, penalty = FEATURES[feature]
    rows = slice(None) if engine == "tensor parallel" else None
    try:
        how = {"differentiate": in_one_graph()} if feature == CAPTURED else {}
        ours = trained_here(ENGINES[engine](), KIND, order, penalty, rows, **how)
    except (ValueError, RuntimeError) as error:
        if not any(word in str(error) for word in REASONS):
            raise
        return None
    if feature == "finite differences":
        theirs = trained_here(critic_of(KIND), KIND, order, penalty, slice(None))
    else:
        theirs = trained(critic_of(KIND), KIND, order)
    pairs = zip(ours, theirs, strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def row(processes: Processes, engine: str) -> list[str]:
    """The row of an engine: the worse of the two processes."""
    cells = []
    for feature in FEATURES:
        differences = processes.run(difference, engine, feature)
        refused = any(each is None for each in differences)
        cells.append(REFUSED if refused else f"{max(each or 0.0 for each in differences):.0e}")
    return [engine, *cells]


def rows(processes: Processes) -> Iterator[list[str]]:
    return (row(processes, engine) for engine in ENGINES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.name}")
    processes = Processes(2)
    text = pages.table(["", *FEATURES], rows(processes), "---:")
    processes.close()
    print(text)
    if parser.parse_args().write:
        pages.write("engines", text, PAGE)


if __name__ == "__main__":
    main()
