"""train.py: what a run leaves behind, how it is resumed, how it is interrupted."""

import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import TINY, assert_same_state, checkpoint, rows, train_process, without_time


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
