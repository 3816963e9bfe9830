"""The processes of one run, as torchrun starts them; without torchrun there is one.

Every process draws the same random numbers for the whole batch and keeps its own rows of what was
drawn. So the data and their order do not depend on the number of processes, and neither does the
checkpoint: a run may go on with more or fewer of them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """A context in which this process is one of those that torchrun has started, if it has.

    Only the first one speaks. Yields the device of this one.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group(device_id=device if device.type == "cuda" else None)
    try:
        with contextlib.ExitStack() as stack:
            if not is_first():
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            yield device
    finally:
        dist.destroy_process_group()


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    return rank() == 0


@contextlib.contextmanager
def written_once(folder: Path) -> Iterator[Path]:
    """The folder, in the first process. The others write to one that is thrown away: so that all do
    the same, which a sharded critic asks for."""
    if is_first():
        yield folder
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        yield Path(elsewhere)


def mine(batch: Tensor) -> Tensor:
    """The rows of this process; all have as many."""
    return batch.chunk(count())[rank()]


def mean(values: Tensor) -> Tensor:
    """The mean over all processes."""
    if count() > 1:
        dist.all_reduce(values)
        values /= count()
    return values


def any_of(flag: bool) -> bool:
    """Whether it is true in one of the processes."""
    return mean(torch.tensor(float(flag))).item() > 0


def replicated(network: nn.Module) -> nn.Module:
    """The network, to be called in training: its gradients are averaged over the processes."""
    return DistributedDataParallel(network) if count() > 1 else network


def sharded(network: nn.Module) -> nn.Module:
    """The network, of which each process keeps a part; layer by layer, in place."""
    for layer in network:
        if any(True for _ in layer.parameters()):
            fully_shard(layer)
    return fully_shard(network)


def gathered(state: Any) -> Any:
    """A state_dict with whole tensors; all processes have to call this."""
    return tree_map(lambda x: x.full_tensor() if isinstance(x, DTensor) else x, state)


def scattered(state: Any, part: nn.Module | torch.optim.Optimizer) -> Any:
    """A state_dict of whole tensors with those of this process, as ``part`` holds them."""
    if isinstance(part, nn.Module):
        return {name: _like(state[name], x) for name, x in part.state_dict().items()}
    weights = [weight for group in part.param_groups for weight in group["params"]]
    of_weights = {
        index: {name: _like(value, weights[index]) for name, value in of_weight.items()}
        for index, of_weight in state["state"].items()
    }
    return {**state, "state": of_weights}


def _like(whole: Any, held: Any) -> Any:
    if isinstance(held, DTensor) and isinstance(whole, Tensor) and whole.shape == held.shape:
        return distribute_tensor(whole, held.device_mesh, held.placements)
    return whole
