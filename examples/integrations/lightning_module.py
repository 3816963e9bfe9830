"""A WGAN-GP as a LightningModule: two optimisers, so its optimisation is manual.

    python examples/integrations/lightning_module.py                # one process
    python examples/integrations/lightning_module.py --devices 2    # DistributedDataParallel

Needs ``pip install lightning``. Each loss trains one of two networks, hence the strategy that looks
for unused parameters. Lightning prepares the exchange of gradients at every ``manual_backward``.
"""

from __future__ import annotations

import argparse

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from wgan_fast import critic_loss, frozen

LATENT, N_CRITIC = 8, 5


def network(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n_out)
    )


class WassersteinGAN(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.critic, self.generator = network(2, 1), network(LATENT, 2)

    def on_fit_start(self) -> None:
        torch.manual_seed(self.global_rank)  # or all would draw the same noise and mixing factors

    def training_step(self, batch: list[Tensor], index: int) -> None:
        (real,) = batch
        of_critic, of_generator = self.optimizers()
        fake = self.generator(torch.randn(len(real), LATENT, device=self.device))
        of_critic.zero_grad()
        self.manual_backward(critic_loss(self.critic, real, fake, gp=10.0))
        of_critic.step()
        if index % N_CRITIC == N_CRITIC - 1:
            of_generator.zero_grad()
            with frozen(self.critic):
                self.manual_backward(-self.critic(fake).mean())
            of_generator.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        networks = self.children()
        return [torch.optim.Adam(n.parameters(), lr=1e-3, betas=(0.0, 0.9)) for n in networks]


def main(arguments: list[str] | None = None) -> WassersteinGAN:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    given = parser.parse_args(arguments)
    lightning.seed_everything(0)
    points = 0.1 * torch.randn(4096, 2) + torch.tensor([1.0, -1.0])
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=given.devices,
        strategy="ddp_find_unused_parameters_true" if given.devices > 1 else "auto",
        max_steps=given.steps,
        logger=False,
        enable_checkpointing=False,
    )
    model = WassersteinGAN()
    trainer.fit(model, DataLoader(TensorDataset(points), batch_size=64, shuffle=True))
    trainer.print("mean [1, -1], generated:", model.generator(torch.randn(1000, LATENT)).mean(0))
    return model


if __name__ == "__main__":
    main()
