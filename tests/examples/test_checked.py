"""train.py's quality.csv: digits by their own classifier, other images by torchmetrics."""

import sys
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from gan import inception_metrics
from gan.checked import digit_quality
from gan.data import digits
from gan.study import read_rows
from PIL import Image

from .conftest import TINY, assert_same_state, checkpoint


def test_digits_are_measured_at_checkpoints_and_training_does_not_notice(train, tmp_path):
    arguments = (*TINY, "--method", "r1", "--save-every", 2, "--steps", 4)
    status, output, _ = train(*arguments, "--name", "measured")
    assert status == 0
    assert "metrics.csv, quality.csv and checkpoint.pt" in output
    rows = read_rows(tmp_path / "measured" / "quality.csv")
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert 1 <= row["score"] <= 10
        assert 0 <= row["classes"] <= 10
        assert row["distance"] > 0.5  # of a generator that has learned nothing
        assert row["classifier's accuracy"] > 0.95
        assert f"step {row['step']}: distance {row['distance']:.4g}, error" in output
    assert train(*arguments, "--name", "plain", "--quick")[0] == 0
    assert not (tmp_path / "plain" / "quality.csv").exists()
    assert_same_state(checkpoint(tmp_path / "measured"), checkpoint(tmp_path / "plain"))

    train(*TINY, "--method", "r1", "--steps", 2, "--name", "parts")
    train("--resume", tmp_path / "parts", "--steps", 2)
    parts = tmp_path / "parts" / "quality.csv"
    assert [row["step"] for row in read_rows(parts)] == [2]
    train("--resume", tmp_path / "parts", "--steps", 4)
    assert read_rows(parts) == rows


def test_digits_themselves_have_a_score_that_no_generator_here_has():
    real = digits(8)
    real = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))]
    measured = digit_quality(real[:600])(real[600:1200])
    assert measured["score"] > 8.5
    assert measured["classes"] == 10
    assert abs(measured["distance"]) < 0.01


class Metric:
    """What torchmetrics has in common: features here are the mean bytes of each image."""

    made: ClassVar[list] = []

    def __init__(self, **options):
        self.options, self.features, self.bytes = options, {True: [], False: []}, []
        self.made.append(self)

    def to(self, device):
        return self

    def update(self, images, real=False):
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        assert len(images) <= inception_metrics.BATCH_SIZE
        self.bytes.append(images)
        self.features[real].append(images.double().mean((1, 2, 3)))

    def reset(self):
        self.features[False] = []
        if self.options.get("reset_real_features", True):
            self.features[True] = []

    def mean(self, real):
        return torch.cat(self.features[real]).mean()

    def deviation(self):
        return torch.rand(())  # as torchmetrics draws subsets


class InceptionScore(Metric):
    def compute(self):
        assert not self.features[True]
        return self.mean(False), self.deviation()


class KernelInceptionDistance(Metric):
    def compute(self):
        assert self.options["subset_size"] <= len(torch.cat(self.features[True]))
        return self.mean(True) - self.mean(False), self.deviation()


class FrechetInceptionDistance(Metric):
    def compute(self):
        return (self.mean(True) - self.mean(False)) ** 2


@pytest.fixture
def torchmetrics(monkeypatch):
    """A stand-in for the package, whose features need no weights; gives the metrics as made."""
    monkeypatch.setattr(Metric, "made", [])
    for name, kind in (
        ("fid", FrechetInceptionDistance),
        ("inception", InceptionScore),
        ("kid", KernelInceptionDistance),
    ):
        module = ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, f"torchmetrics.image.{name}", module)
    monkeypatch.setitem(sys.modules, "torchmetrics", ModuleType("torchmetrics"))
    monkeypatch.setitem(sys.modules, "torchmetrics.image", ModuleType("torchmetrics.image"))
    return Metric.made


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            images / f"{i}.png"
        )
    return images


def test_torchmetrics_gets_bytes_of_real_and_generated_images(torchmetrics):
    real = torch.full((120, 1, 8, 8), -1.0)
    measure = inception_metrics.InceptionMetrics(real)
    for value in (0.6, 1.0):  # the second time, nothing is left of the first
        measured = measure(torch.full((120, 3, 8, 8), value))
        mean = round(value * 127.5 + 127.5)
        assert measured["inception score"] == mean
        assert measured["KID"] == -mean
        assert measured["FID"] == mean**2
    assert all(metric.options["sync_on_compute"] is False for metric in torchmetrics)
    assert set(torch.cat(torchmetrics[1].bytes).unique().tolist()) == {0, 204, 255}


def test_real_images_that_were_forgotten_would_be_noticed(torchmetrics, monkeypatch):
    measure = inception_metrics.InceptionMetrics(torch.zeros(40, 3, 8, 8))
    torchmetrics[1].options["reset_real_features"] = True
    with pytest.raises(ValueError, match="non-empty"):
        measure(torch.zeros(40, 3, 8, 8))


def test_random_numbers_of_torchmetrics_disturb_nothing_and_are_the_same(torchmetrics):
    measure = inception_metrics.InceptionMetrics(torch.zeros(40, 3, 8, 8))
    before = torch.get_rng_state()
    first = measure(torch.ones(40, 3, 8, 8))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert measure(torch.ones(40, 3, 8, 8)) == first


def test_images_of_a_folder_are_measured(torchmetrics, folder, train, tmp_path):
    arguments = ("--data", f"folder:{folder}", *TINY, "--steps", 4, "--save-every", 2)
    status, output, _ = train(*arguments, "--metrics", "--name", "measured")
    assert status == 0
    rows = read_rows(tmp_path / "measured" / "quality.csv")
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0].keys() == {
        *("step", "inception score", "score deviation", "KID", "KID deviation", "FID")
    }
    assert f"step 4: inception score {rows[1]['inception score']:.4g}" in output
    train(*arguments, "--name", "plain")
    assert not (tmp_path / "plain" / "quality.csv").exists()
    assert_same_state(checkpoint(tmp_path / "measured"), checkpoint(tmp_path / "plain"))


def test_fewer_images_are_taken_where_fewer_are_asked_for(torchmetrics, folder, train):
    train("--data", f"folder:{folder}", *TINY, "--steps", 1, "--metrics", 20)
    score, fid, _ = torchmetrics
    assert [len(torch.cat(metric.bytes)) for metric in (score, fid)] == [20, 40]


def test_missing_packages_are_named_before_training(folder, train, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    status, output, error = train("--data", f"folder:{folder}", *TINY, "--metrics")
    assert status == 2
    assert "--metrics needs torchmetrics and torch-fidelity, which cannot be imported" in error
    assert "pip install torchmetrics torch-fidelity" in error
    assert "step" not in output


def test_missing_weights_are_named_before_training(torchmetrics, folder, train, monkeypatch):
    def unreachable(self, **options):
        raise OSError("<urlopen error no route>")

    monkeypatch.setattr(FrechetInceptionDistance, "__init__", unreachable)
    status, _, error = train("--data", f"folder:{folder}", *TINY, "--metrics")
    assert status == 2
    assert "needs the weights of Inception v3, which torch-fidelity cannot get" in error
    assert "no route" in error
    assert "/checkpoints" in error


def test_what_cannot_be_measured_is_refused(torchmetrics, folder, train, capsys):
    status, _, error = train("--data", "swissroll", "--metrics", "--quick")
    assert (status, "--metrics is for images, but --data is swissroll" in error) == (2, True)
    for i in range(5):
        (folder / f"{i}.png").unlink()
    status, _, error = train("--data", f"folder:{folder}", *TINY, "--metrics")
    assert (status, "needs 20 images at least, but there are 19 in" in error) == (2, True)
    with pytest.raises(SystemExit):
        train("--metrics", 19)
    assert "must be a whole number from 20 on, but it is 19" in capsys.readouterr().err
