"""A WGAN-GP in a loop of Accelerate.

    python examples/integrations/accelerate_loop.py
    accelerate launch --cpu --num_processes 2 examples/integrations/accelerate_loop.py

Needs ``pip install accelerate``. What ``prepare`` returns for several processes is
DistributedDataParallel: the critic is called by that wrapper, in the penalty as well.
"""

from __future__ import annotations

import argparse
from itertools import count

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from wgan_fast import critic_loss, frozen

LATENT, N_CRITIC = 8, 5


def network(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n_out)
    )


def main(arguments: list[str] | None = None) -> nn.Module:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    given = parser.parse_args(arguments)
    accelerator = Accelerator(cpu=True)
    set_seed(0, device_specific=True)  # or all would draw the same noise and mixing factors
    networks = network(2, 1), network(LATENT, 2)
    optimizers = (torch.optim.Adam(n.parameters(), lr=1e-3, betas=(0.0, 0.9)) for n in networks)
    points = torch.randn(4096, 2) * 0.1 + torch.tensor([1.0, -1.0])
    loader = DataLoader(TensorDataset(points), batch_size=64, shuffle=True, drop_last=True)
    critic, generator, of_critic, of_generator, loader = accelerator.prepare(
        *networks, *optimizers, loader
    )
    batches = (batch for _ in count() for batch in loader)
    for step, (real,) in zip(range(given.steps), batches, strict=False):
        noise = torch.randn(len(real), LATENT, device=accelerator.device)
        with torch.no_grad():
            fake = generator(noise)
        loss = critic_loss(critic, real, fake, gp=10.0)
        of_critic.zero_grad()
        accelerator.backward(loss)
        of_critic.step()
        if step % N_CRITIC == N_CRITIC - 1:
            with frozen(critic):
                loss = -critic(generator(noise)).mean()
            of_generator.zero_grad()
            accelerator.backward(loss)
            of_generator.step()
    samples = generator(torch.randn(1000, LATENT))
    accelerator.print(f"mean of real samples 1, -1; of generated ones {samples.mean(0).tolist()}")
    return accelerator.unwrap_model(critic)


if __name__ == "__main__":
    main()
