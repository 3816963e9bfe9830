"""train.py: what a run leaves behind, how it is resumed, how it is interrupted."""

import csv
import math
import signal
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gan.methods import METHODS
from gan.options import settings_of
from gan.run import METRICS, Metrics, Run
from PIL import Image

from tests import textbook, textbook_variants
from wgan_fast import ops

from .conftest import TINY, assert_same_state, checkpoint, train_process


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(table):
    return [{name: text for name, text in row.items() if name != "seconds"} for row in table]


def assert_picture(path, panels):
    """Each of the panels side by side shows something within its frame."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    height = len(pixels)
    assert height > 200
    for panel in np.array_split(pixels, panels, axis=1):
        width = panel.shape[1]
        inside = panel[height // 4 : -height // 4, width // 4 : -width // 4]
        assert inside.std() > 5, f"{path.name} has a blank panel"


def test_two_halves_equal_the_whole_bit_for_bit(train, tmp_path):
    assert train(*TINY, "--steps", 6, "--name", "whole", "--quick")[0] == 0
    assert train(*TINY, "--steps", 3, "--name", "halves", "--quick")[0] == 0
    halfway = checkpoint(tmp_path / "halves")
    assert halfway["step"] == 3
    torch.manual_seed(123)  # what else the process did with its random numbers must not matter
    status, _, _ = train("--resume", tmp_path / "halves", "--steps", 6, "--quick")
    assert status == 0
    whole, halves = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "halves")
    assert whole["step"] == halves["step"] == 6
    assert_same_state(whole, halves)
    weights = whole["critic"].keys()
    assert any(not torch.equal(whole["critic"][w], halfway["critic"][w]) for w in weights)
    assert without_time(rows(tmp_path / "whole")) == without_time(rows(tmp_path / "halves"))
    seconds = [float(row["seconds"]) for row in rows(tmp_path / "halves")]
    assert seconds == sorted(seconds)


def test_seeds_give_different_runs(train, tmp_path):
    for seed in (0, 1):
        train(*TINY, "--steps", 1, "--name", f"seed{seed}", "--seed", seed, "--quick")
    first, second = (rows(tmp_path / f"seed{seed}")[0] for seed in (0, 1))
    assert first["critic_loss"] != second["critic_loss"]


def test_a_run_leaves_pictures_metrics_events_and_a_comparison(train, tmp_path):
    pytest.importorskip("tensorboard", reason="event files are written by tensorboard")
    status, output, _ = train("--steps", 4, "--save-every", 2, "--quick", pictures=True)
    assert status == 0
    run = tmp_path / "digits"
    for name, panels in (("samples.png", 2), ("curves.png", 3), ("summary.png", 3)):
        assert_picture(run / name, panels)
    table = rows(run)
    assert [row["step"] for row in table] == ["1", "2", "3", "4"]
    for row in table:
        loss = float(row["penalty"]) - float(row["wasserstein"])
        assert float(row["critic_loss"]) == pytest.approx(loss, rel=1e-5)
        assert float(row["gradient_norm"]) > 0
    assert list(run.glob("events.out.tfevents.*"))
    assert not list(run.glob(".*")), "temporary files are left"
    assert "fast_gradient_penalty" in output
    assert "textbook" in output
    assert float(output.split("float64:")[1]) <= 1e-12


def test_pictures_and_checkpoints_on_the_way_change_nothing(train, tmp_path):
    train(*TINY, "--steps", 4, "--name", "plain", "--quick")
    train(*TINY, "--steps", 4, "--name", "drawn", "--quick", "--save-every", 2, pictures=True)
    assert_same_state(checkpoint(tmp_path / "plain"), checkpoint(tmp_path / "drawn"))


def test_tensorboard_is_not_needed(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, output, _ = train(*TINY, "--steps", 1, "--quick")
    assert status == 0
    assert "tensorboard is not installed: no event files" in output


def test_ctrl_c_stops_after_a_whole_step_and_leaves_everything(train, tmp_path):
    process = train_process(*TINY, "--steps", 1_000_000, "--out", tmp_path, "--name", "stopped")
    shown = ""
    while "critic loss" not in shown:  # the bar of the first step, or the end if it fails
        character = process.stderr.read(1)
        assert character, shown
        shown += character
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"continue with --resume {tmp_path / 'stopped'}" in output
    assert_picture(tmp_path / "stopped" / "samples.png", panels=2)
    assert_picture(tmp_path / "stopped" / "curves.png", panels=3)
    stopped = checkpoint(tmp_path / "stopped")
    assert len(rows(tmp_path / "stopped")) == stopped["step"] > 0
    train(*TINY, "--steps", stopped["step"], "--name", "undisturbed", "--quick")
    assert_same_state(stopped, checkpoint(tmp_path / "undisturbed"))


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


# Instance noise and dropout draw random numbers, RMSprop has a state of its own.
@pytest.mark.parametrize("method", ["gan-noise", "ct-gan", "wgan", "r1", "approximate-r1"])
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


def test_a_checkpoint_from_before_there_were_methods_goes_on(train, tmp_path):
    train(*TINY, "--steps", 4, "--name", "whole", "--quick")
    train(*TINY, "--steps", 2, "--name", "old", "--quick")
    state = checkpoint(tmp_path / "old")
    assert state["settings"].pop("method") == "wgan-gp"
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


def by_hand(method, run, batches):
    """One step of training, in PyTorch's own words: the losses and penalties of the papers."""
    critic, generator = run.critic, run.generator
    deviation = 0.5 if method == "gan-noise" else 0.0

    def noisy(samples):
        return samples + deviation * torch.randn_like(samples) if deviation else samples

    for real in batches:
        real, fake = noisy(real), noisy(generator(run.noise(len(real))).detach())
        of_real, of_fake = critic(real), critic(fake)
        if method in ("wgan", "wgan-gp"):
            loss = of_fake.mean() - of_real.mean()
        else:
            loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
        if method == "wgan-gp":
            epsilon = ops.drawn_epsilon(real, torch.randint(2**63 - 1, ()))
            loss += textbook.textbook_gradient_penalty(critic, real, fake, epsilon=epsilon)
        if method == "r1":
            loss += textbook_variants.textbook_r1(critic, real)
        critic.zero_grad()
        loss.backward()
        run.critic_optimizer.step()
        if method == "wgan":
            for parameter in critic.parameters():
                parameter.data = parameter.data.clamp(-0.01, 0.01)
    scores = critic(noisy(generator(run.noise(len(real)))))
    loss = -scores.mean() if method in ("wgan", "wgan-gp") else F.softplus(-scores).mean()
    generator.zero_grad()
    loss.backward()
    run.generator_optimizer.step()


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("method", ["wgan-gp", "wgan", "gan-noise", "r1"])
def test_a_step_is_that_of_the_papers(method, in_float64):
    from train import train

    settings = settings_of({"method": method, "size": 8, "width": 4, "steps": 1, "batch_size": 8})
    batches = torch.rand(settings.n_critic, 8, 1, 8, 8).mul(2).sub(1).unbind()
    ours, theirs = (Run(settings, (1, 8, 8), torch.device("cpu")) for _ in range(2))
    torch.manual_seed(5)
    list(train(ours, iter(batches)))
    torch.manual_seed(5)
    by_hand(method, theirs, batches)
    for network in NETWORKS:
        expected = getattr(theirs, network).state_dict()
        torch.testing.assert_close(
            getattr(ours, network).state_dict(), expected, rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_norm_is_measured_alike_and_unnoticed(method, monkeypatch):
    from train import train

    options = {"size": 8, "width": 4, "steps": 3, "batch_size": 8}
    run = Run(settings_of({"method": method} | options), (1, 8, 8), torch.device("cpu"))
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


def test_a_finished_run_keeps_its_folder(train, tmp_path):
    train(*TINY, "--steps", 1, "--name", "mine", "--quick")
    before = (tmp_path / "mine" / "checkpoint.pt").read_bytes()
    _, output, _ = train(*TINY, "--steps", 2, "--name", "mine", "--quick")
    assert str(tmp_path / "mine-2") in output
    assert (tmp_path / "mine" / "checkpoint.pt").read_bytes() == before
    assert checkpoint(tmp_path / "mine-2")["step"] == 2


def test_resume_says_what_is_wrong(train, tmp_path):
    status, _, error = train("--resume", tmp_path / "nowhere")
    assert (status, "no checkpoint to resume from" in error) == (2, True)
    (tmp_path / "junk.pt").write_text("not a checkpoint")
    status, _, error = train("--resume", tmp_path / "junk.pt")
    assert (status, "is not a checkpoint of this script" in error) == (2, True)
    train(*TINY, "--steps", 2, "--name", "run", "--quick")
    status, _, error = train("--resume", tmp_path / "run", "--batch-size", 9, "--width", 4)
    assert (status, "--batch-size 9 (it began with 8)" in error, "width" in error) == (
        2,
        True,
        False,
    )
    status, _, error = train("--resume", tmp_path / "run", "--steps", 1)
    assert (status, "the run is at step 2 already" in error) == (2, True)


def test_a_diverging_run_stops_with_a_word(train):
    status, _, error = train(*TINY, "--steps", 50, "--learning-rate", 1e30, "--quick")
    assert status == 2
    assert "are not finite" in error


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    from gan.run import replacing

    path = tmp_path / "checkpoint.pt"
    path.write_text("old")

    def fail_halfway():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_halfway()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert path.read_text() == "old"


def test_the_comparison_notices_a_wrong_gradient(monkeypatch):
    from gan import compare, models

    critic = models.point_critic(8)
    real, fake = torch.randn(2, 16, 2).unbind()
    assert compare.gradient_difference(critic, real, fake, 10.0) <= 1e-12
    right = compare.fast_gradient_penalty
    monkeypatch.setattr(
        compare, "fast_gradient_penalty", lambda *a, **k: right(*a, **k) * (1 + 1e-6)
    )
    assert compare.gradient_difference(critic, real, fake, 10.0) == pytest.approx(1e-6, rel=1e-3)
