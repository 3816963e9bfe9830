"""train.py --method, --loss: each trains, goes on where it stopped, and takes its paper's steps."""

import math
import signal

import pytest
import torch
from gan.methods import LOSSES, METHODS
from gan.options import settings_of
from gan.run import METRICS, Metrics, Run
from torch import nn

from tests import textbook, textbook_family
from wgan_fast import ops

from .conftest import TINY, assert_same_state, checkpoint, rows, without_time
from .test_methods import TEXTBOOK_LOSSES

CPU = torch.device("cpu")


@pytest.mark.parametrize("data", ["digits", "gaussians8"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, data, train, tmp_path):
    size = TINY if data == "digits" else TINY[2:]
    status, output, _ = train(
        *size, "--data", data, "--method", method, "--steps", 2, "--name", "run", "--quick"
    )
    assert status == 0
    assert output.startswith(("tensorboard", f"{METHODS[method].title} on {data}: "))
    assert ("textbook" in output) == (method == "wgan-gp")
    table = rows(tmp_path / "run")
    assert len(table) == 2
    for row in table:
        assert all(math.isfinite(float(row[name])) for name in METRICS)
        assert float(row["gradient_norm"]) > 0
        if method != "wgan-lp":  # which lets slopes below 1 be, as they are here
            assert (float(row["penalty"]) != 0) == (METHODS[method].weight != 0)
        if method.startswith(("wgan", "max", "ct")):
            loss = float(row["penalty"]) - float(row["wasserstein"])
            assert float(row["critic_loss"]) == pytest.approx(loss, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss, train, tmp_path):
    arguments = ("--method", "r1", "--loss", loss, "--steps", 2, "--quick")
    status, output, _ = train(*TINY, *arguments)
    own = loss == METHODS["r1"].loss
    assert status == 0
    assert f"GAN + R1{'' if own else f', {loss} loss'} on digits: " in output
    run = tmp_path / ("digits-r1" if own else f"digits-r1-{loss}")
    assert checkpoint(run)["settings"]["loss"] == loss
    assert all(math.isfinite(float(row[name])) for row in rows(run) for name in METRICS)


# Instance noise and dropout draw random numbers, RMSprop has a state of its own.
@pytest.mark.parametrize("method", ["gan-noise", "ct-gan", "wgan", "r1", "approximate-r1", "r3gan"])
def test_interrupted_and_resumed_is_as_uninterrupted(method, train, tmp_path, monkeypatch):
    arguments = (*TINY, "--method", method, "--steps", 6, "--quick")
    assert train(*arguments, "--name", "whole")[0] == 0

    def add_and_interrupt(self, step, values):
        add(self, step, values)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    add = Metrics.add
    with monkeypatch.context() as context:
        context.setattr(Metrics, "add", add_and_interrupt)
        assert train(*arguments, "--name", "parts")[0] == 130
    halfway = checkpoint(tmp_path / "parts")
    assert halfway["step"] == 3
    torch.manual_seed(123)
    assert train("--resume", tmp_path / "parts", "--quick")[0] == 0
    whole, parts = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert whole["step"] == 6
    assert_same_state(whole, parts)
    assert without_time(rows(tmp_path / "whole")) == without_time(rows(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("options", "missing"), [((), ("method", "loss")), (("--method", "r1"), ("loss",))]
)
def test_a_checkpoint_from_before_there_were_methods_or_losses_goes_on(
    options, missing, train, tmp_path
):
    train(*TINY, *options, "--steps", 4, "--name", "whole", "--quick")
    train(*TINY, *options, "--steps", 2, "--name", "old", "--quick")
    state = checkpoint(tmp_path / "old")
    for setting in missing:
        del state["settings"][setting]
    torch.save(state, tmp_path / "old" / "checkpoint.pt")
    assert train("--resume", tmp_path / "old", "--steps", 4, "--quick")[0] == 0
    assert_same_state(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "old"))


def test_a_run_keeps_its_method(train, tmp_path):
    train(*TINY, "--method", "r1", "--steps", 1, "--name", "run", "--quick")
    assert train("--resume", tmp_path / "run", "--method", "r1", "--steps", 2, "--quick")[0] == 0
    status, _, error = train("--resume", tmp_path / "run", "--method", "r2", "--quick")
    assert (status, "--method r2 (it began with r1)" in error) == (2, True)
    state = checkpoint(tmp_path / "run")
    state["settings"]["method"] = "of-tomorrow"
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    status, _, error = train("--resume", tmp_path / "run", "--quick")
    assert (status, "by of-tomorrow, which is none of the methods" in error) == (2, True)


def test_a_run_keeps_its_loss(train, tmp_path):
    options = ("--method", "r1", "--loss", "hinge", "--steps", 1)
    train(*TINY, *options, "--name", "run", "--quick")
    assert train("--resume", tmp_path / "run", "--loss", "hinge", "--steps", 2, "--quick")[0] == 0
    assert checkpoint(tmp_path / "run")["settings"]["loss"] == "hinge"
    status, _, error = train("--resume", tmp_path / "run", "--loss", "gan", "--quick")
    assert (status, "--loss gan (it began with hinge)" in error) == (2, True)
    state = checkpoint(tmp_path / "run")
    state["settings"]["loss"] = "of-tomorrow"
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    status, _, error = train("--resume", tmp_path / "run", "--quick")
    assert (status, "with of-tomorrow, which is none of the losses" in error) == (2, True)


@pytest.mark.parametrize("method", METHODS)
def test_all_but_r3gan_normalise_the_generator_of_images(method):
    run = Run(settings_of({"method": method, "size": 16, "width": 4}), (1, 16, 16), CPU)
    kinds = {type(layer) for layer in (*run.critic.modules(), *run.generator.modules())}
    if method == "r3gan":
        assert nn.LeakyReLU in kinds
        assert kinds.isdisjoint({nn.BatchNorm2d, nn.ReLU})
    else:
        assert nn.BatchNorm2d in kinds


def largest_weights(state):
    return {name: max(w.abs().max() for w in state[name].values()) for name in NETWORKS}


NETWORKS = ("critic", "generator")


def test_clipped_weights_stay_within_the_bound(train, tmp_path):
    for method in ("wgan", "wgan-gp"):
        options = ("--method", method, "--learning-rate", 0.01, "--steps", 3)
        train(*TINY, *options, "--name", method, "--quick")
    clipped, free = (largest_weights(checkpoint(tmp_path / m)) for m in ("wgan", "wgan-gp"))
    assert clipped["critic"] == torch.tensor(0.01)  # the bound is reached, and not passed
    assert free["critic"] > 0.05
    assert clipped["generator"] > 0.05


def by_hand(method, loss, run, batches):
    """One step of training, in PyTorch's own words: the losses and penalties of the papers."""
    critic, generator, losses = run.critic, run.generator, TEXTBOOK_LOSSES[loss]
    deviation = 0.5 if method == "gan-noise" else 0.0

    def noisy(samples):
        return samples + deviation * torch.randn_like(samples) if deviation else samples

    for real in batches:
        real, fake = noisy(real), noisy(generator(run.noise(len(real))).detach())
        value, _ = losses(critic(real), critic(fake))
        if method == "wgan-gp":
            epsilon = ops.drawn_epsilon(real, torch.randint(2**63 - 1, ()))
            value += textbook.textbook_gradient_penalty(critic, real, fake, epsilon=epsilon)
        if method == "r1":
            value += textbook_family.textbook_r1(critic, real)
        if method == "r3gan":
            value += sum(textbook_family.textbook_r1(critic, x, gamma=0.05) for x in (real, fake))
        critic.zero_grad()
        value.backward()
        run.critic_optimizer.step()
        if method == "wgan":
            for parameter in critic.parameters():
                parameter.data = parameter.data.clamp(-0.01, 0.01)
    fake = noisy(generator(run.noise(len(real))))
    _, value = losses(critic(real).detach(), critic(fake))
    generator.zero_grad()
    value.backward()
    run.generator_optimizer.step()


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("wgan-gp", "wasserstein"),
        ("wgan", "wasserstein"),
        ("gan-noise", "gan"),
        ("r1", "gan"),
        ("r3gan", "relativistic"),
        ("wgan-gp", "hinge"),
        ("r1", "minimax"),
    ],
)
def test_a_step_is_that_of_the_papers(method, loss, in_float64):
    from train import train

    given = {"method": method} | ({"loss": loss} if loss != METHODS[method].loss else {})
    settings = settings_of(given | {"size": 8, "width": 4, "steps": 1, "batch_size": 8})
    batches = torch.rand(settings.n_critic, 8, 1, 8, 8).mul(2).sub(1).unbind()
    ours, theirs = (Run(settings, (1, 8, 8), CPU) for _ in range(2))
    torch.manual_seed(5)
    list(train(ours, iter(batches)))
    torch.manual_seed(5)
    by_hand(method, loss, theirs, batches)
    # Gradients below 8, which have been rounded a few times. The optimisers divide them by no less
    # than 1e-8, and take 2e-4 of that at most.
    atol = 2e-4 / 1e-8 * 4 * 2**-50
    for network in NETWORKS:
        expected = getattr(theirs, network).state_dict()
        torch.testing.assert_close(getattr(ours, network).state_dict(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_norm_is_measured_alike_and_unnoticed(method, monkeypatch):
    from train import train

    options = {"size": 8, "width": 4, "steps": 3, "batch_size": 8}
    run = Run(settings_of({"method": method} | options), (1, 8, 8), CPU)
    measured = []

    def gradient_norms(self, real, fake):
        before = torch.get_rng_state()
        norms = measure(self, real, fake)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(module.training for module in self.critic.modules())
        assert all(parameter.requires_grad for parameter in self.critic.parameters())
        seed = torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(self.step))
        epsilon = ops.drawn_epsilon(real, seed)
        critic = self.critic.eval()
        _, expected = textbook.textbook_gradient_penalty(
            critic, real, fake, epsilon=epsilon, return_norms=True
        )
        critic.train()
        torch.testing.assert_close(norms, expected)
        assert not norms.requires_grad
        measured.append(norms)
        return norms

    measure = Run.gradient_norms
    monkeypatch.setattr(Run, "gradient_norms", gradient_norms)
    real = iter(torch.rand(3 * run.settings.n_critic, 8, 1, 8, 8))
    for metrics in train(run, real):
        assert metrics[METRICS.index("gradient_norm")] == measured[-1].mean()
    assert len(measured) == 3
