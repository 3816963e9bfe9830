"""Trains a critic in DistributedDataParallel, in one of two processes, captured and not.

python -m tests.captured.two_processes RANK FOLDER
"""

import contextlib
import sys

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.captured import training
from tests.captured.training import replayed, samples
from wgan_fast import fast_gradient_penalty

#: Name -> the critic, how it is wrapped, and whether every other step only accumulates.
CASES = {
    "plain": (training.mlp, {}, False),
    "bucket_view": (training.mlp, {"gradient_as_bucket_view": True}, False),
    "unused": (lambda: nn.ModuleList([training.mlp(), nn.Linear(2, 2)]),
               {"find_unused_parameters": True}, False),
    "accumulating": (training.mlp, {}, True),
    "generated": (training.mlp, {}, False),
    "batch_norm": (lambda: training.mlp(nn.BatchNorm1d(16)), {}, False),
}  # fmt: skip


#: What DistributedDataParallel cannot do in this PyTorch without ``captured`` either: that of 2.11
#: changes the running means between two calls, and then misses what they were.
IMPOSSIBLE = () if torch.__version__ >= "2.13" else ("batch_norm",)


class First(nn.Module):
    """Calls the first of several networks."""

    def __init__(self, nets):
        super().__init__()
        self.nets = nets

    def forward(self, x):
        return (self.nets[0] if isinstance(self.nets, nn.ModuleList) else self.nets)(x)


def critic_of(case):
    torch.manual_seed(0)
    return First(CASES[case][0]()).double()


def loss_of(critic):
    def loss(real, fake, epsilon):
        penalty = fast_gradient_penalty(critic, real, fake, epsilon=epsilon)
        return critic(fake).mean() - critic(real).mean() + penalty

    return loss


def train(critic, case, capture, rank, count):
    """The weights, buffers and gradients after some steps with each process's part of the batch.

    Where fake samples are generated, they have a graph, and the generator is trained with the loss.
    """
    generator = nn.Linear(5, 5).double()
    generate = DistributedDataParallel(generator) if count > 1 else generator
    both = nn.ModuleList([critic, generator])
    wrapped = DistributedDataParallel(critic, **CASES[case][1]) if count > 1 else critic
    loss = capture(loss_of(wrapped))
    optimiser = torch.optim.SGD(both.parameters(), 1e-2)
    for step in range(6):
        batch = [*samples((8, 5), seed=step), torch.linspace(0, 1, 8, dtype=torch.float64)]
        part = [tensor.chunk(count)[rank] for tensor in batch]
        if case == "generated":
            part[1] = generate(part[1])
        accumulates = CASES[case][2] and step % 2 == 0
        alone = accumulates and count > 1
        with wrapped.no_sync() if alone else contextlib.nullcontext():
            loss(*part).backward()
        if not accumulates:
            optimiser.step()
            if step < 5:
                optimiser.zero_grad()
    gradients = {f"{n}.grad": p.grad for n, p in both.named_parameters() if p.grad is not None}
    return {**both.state_dict(), **gradients}


def main(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    results = {
        (case, name): train(critic_of(case), case, capture, rank, 2)
        for case in CASES
        if case not in IMPOSSIBLE
        for name, capture in [("captured", replayed), ("eager", lambda loss: loss)]
    }
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
