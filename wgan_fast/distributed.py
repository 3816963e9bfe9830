"""What several processes that share one batch have to know of each other."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import distributed

from ._arguments import describe

__all__ = ["first_sample"]


def first_sample(
    batch_size: int, *, generator: torch.Generator | None = None, group: Any = None
) -> int:
    """The index of this process's first sample in the batch that all processes share.

    The global batch is the batches of all ranks, one after the other: what this returns is the
    number of samples on the ranks before, for ``first_sample=`` of everything that draws. All ranks
    must then draw from generators with one seed. The surest way is one generator for nothing else
    than the penalties, seeded alike on all ranks; what PyTorch draws from its global one (dropout,
    noise for the generator network) should differ from rank to rank, and sooner or later does.

    Args:
        batch_size: how many samples this process has, at least 1. It may differ from rank to rank.
        generator: what the penalties are given, to be compared with that of the other ranks; by
            default nothing is compared.
        group: the ranks that share a batch, a process group; by default all.

    Returns:
        The index; 0 where ``torch.distributed`` is not initialised, and one process is all there
        is.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if ``batch_size`` is below 1, or this process is not in ``group``.
        RuntimeError: on all ranks, if their generators are not in one state.

    All ranks must call it, and wait for each other. Where every batch has the same size, one call
    before the loop will do.

    Example:
        >>> from wgan_fast import fast_gradient_penalty
        >>> generator = torch.Generator().manual_seed(0)  # alike on all ranks
        >>> critic, (real, fake) = torch.nn.Linear(2, 1), torch.randn(2, 8, 2)
        >>> first = first_sample(len(real), generator=generator)
        >>> penalty = fast_gradient_penalty(
        ...     critic, real, fake, generator=generator, first_sample=first
        ... )
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an integer, but it is {describe(batch_size)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, but it is {batch_size}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, but it is {describe(generator)}")
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0
    rank = distributed.get_rank(group)
    if rank < 0:
        raise ValueError("group must be one that this process belongs to, but it does not")
    everyone: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(everyone, (batch_size, _state_of(generator)), group)
    others = [other for other, (_, state) in enumerate(everyone) if state != everyone[0][1]]
    if others:
        raise RuntimeError(
            "generator must be in the same state on all ranks, but those of the ranks "
            f"{', '.join(map(str, others))} differ from that of rank 0: seed them alike, and let "
            "nothing else draw from them"
        )
    return sum(size for size, _ in everyone[:rank])


def _state_of(generator: torch.Generator | None) -> bytes | None:
    if generator is None:
        return None
    return hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
