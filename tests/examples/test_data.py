"""The data sets of the examples: shapes, values, order, and what is said when they are missing."""

import sys
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gan import data
from PIL import Image

from .conftest import TINY, assert_same_state, checkpoint
from .test_train import assert_picture


@pytest.fixture
def folder(tmp_path):
    """Ten images of several sizes, formats and modes, in a folder and one below it."""
    images = tmp_path / "images"
    (images / "below").mkdir(parents=True)
    random = np.random.default_rng(0)
    for i, mode in enumerate(["RGB", "L", "RGBA", "P", "I;16"] * 2):
        pixels = random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        if mode == "I;16":
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        image.save((images / "below" if i % 2 else images) / f"{i}.png")
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(images / "red.JPG")
    (images / "notes.txt").write_text("not an image, and not taken for one")
    return images


def test_digits_fill_their_range_at_every_size():
    for size in (8, 16, 32):
        digits = data.load("digits", size, 1, "")
        batch = digits.__getitems__(list(range(100)))
        assert batch.shape == (100, 1, size, size)
        assert (batch.min(), batch.max()) == (-1, 1)


def by_rows(matrix):
    return torch.from_numpy(matrix.numpy()[np.lexsort(matrix.numpy().T)])


def test_digits_are_split_with_their_labels_and_none_is_in_both_parts():
    split = data.split_digits(8, seed=3)
    assert len(split.held_out) == data.N_HELD_OUT
    together = torch.cat([split.training, split.held_out]).flatten(1)
    labels = torch.cat([split.labels, split.held_out_labels])[:, None]
    expected = torch.cat([data.digits(8).flatten(1), data.digit_labels()[:, None]], 1)
    assert torch.equal(by_rows(torch.cat([together, labels], 1)), by_rows(expected))
    assert not torch.equal(split.held_out, data.split_digits(8, seed=4).held_out)


@pytest.mark.parametrize("name", data.POINT_SETS)
def test_points_train_and_are_drawn(name, train, tmp_path):
    status, output, _ = train(
        "--data", name, "--width", 8, "--batch-size", 16, "--quick", pictures=True
    )
    assert status == 0
    assert f"{name}: 100000 points of shape [2]" in output
    assert_picture(tmp_path / name / "samples.png", panels=1)
    assert_picture(tmp_path / name / "summary.png", panels=2)


def test_gaussians_lie_on_their_centres():
    eight = data.gaussians("gaussians8")
    assert eight.norm(dim=1).sub(2**0.5).abs().max() < 0.1
    twenty_five = data.gaussians("gaussians25") * 2 * 2**0.5
    grid = (twenty_five / 2).round()
    assert len(grid.unique(dim=0)) == 25
    assert (twenty_five - 2 * grid).abs().max() < 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_images_trains(channels, folder, train, tmp_path):
    status, output, _ = train(
        "--data", f"folder:{folder}", *TINY, "--channels", channels, "--quick", pictures=True
    )
    assert status == 0
    assert f"11 images of shape [{channels}, 8, 8]" in output
    assert_picture(tmp_path / "folder" / "samples.png", panels=2)


# DataLoader forks its workers, which newer Pythons warn of in a process with threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_read_the_same_batches(folder, train, tmp_path):
    arguments = ("--data", f"folder:{folder}", *TINY, "--steps", 2, "--quick")
    train(*arguments, "--name", "alone")
    train(*arguments, "--name", "workers", "--workers", 2)
    assert_same_state(checkpoint(tmp_path / "alone"), checkpoint(tmp_path / "workers"))


def test_a_colour_keeps_its_value(folder):
    samples = data.FolderSamples(folder, 8, 3)
    red = samples.__getitems__([[path.name for path in samples.paths].index("red.JPG")])
    assert (red[0, 0] > 0.9).all()
    assert (red[0, 1:] < -0.9).all()


def test_what_is_wrong_with_a_folder_is_said(folder, train, tmp_path):
    def error(path):
        status, _, text = train("--data", f"folder:{path}", *TINY, "--quick")
        assert status == 2
        assert text.startswith("train.py: error: ")
        return text

    assert "is not a folder" in error(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no images under" in error(tmp_path / "empty")
    (folder / "fake.png").write_text("no image at all")
    assert "1 of the 12 files" in (text := error(folder))
    assert "fake.png" in text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_off_is_named(workers, folder, train, monkeypatch):
    monkeypatch.setattr("train.N_SHOWN", 1)
    samples = data.FolderSamples(folder, 8, 3)
    shown = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[0]
    for path in samples.paths:
        if path != samples.paths[shown]:  # that one is read in this process, the rest by workers
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, _, error = train("--data", f"folder:{folder}", *TINY, "--workers", workers, "--quick")
    assert status == 2
    assert error.splitlines()[-1].startswith("train.py: error: cannot read the image")
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_torchvision_is_asked_for_by_name(name, train, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    status, _, error = train("--data", name, "--quick")
    assert status == 2
    assert f"--data {name} needs torchvision, which cannot be imported" in error


class StandIn:
    """torchvision's MNIST and CIFAR10 as far as they are used: the files, or a RuntimeError."""

    files = True

    def __init__(self, root, train, download):
        assert (train, download) == (True, False)
        if not self.files:
            raise RuntimeError("Dataset not found. You can use download=True to download it")


class MNIST(StandIn):
    data = torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8)


class CIFAR10(StandIn):
    data = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def torchvision(monkeypatch):
    datasets = SimpleNamespace(MNIST=MNIST, CIFAR10=CIFAR10)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))


def test_torchvision_files_that_are_missing_are_asked_for(
    torchvision, train, tmp_path, monkeypatch
):
    monkeypatch.setattr(StandIn, "files", False)
    status, _, error = train("--data", "cifar10", "--root", tmp_path / "x", "--quick")
    assert status == 2
    assert f"no complete CIFAR10 under {tmp_path / 'x'}" in error


def test_torchvision_images_keep_their_pixels(torchvision):
    cifar = data.load("cifar10", 32, 3, "")
    pixels = torch.from_numpy(CIFAR10.data).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(cifar.__getitems__([3, 5]), pixels[[3, 5]])
    mnist = data.load("mnist", 32, 1, "")
    assert mnist.__getitems__([0]).shape == (1, 1, 32, 32)


def test_torchvision_images_train(torchvision, train, tmp_path):
    status, output, _ = train(
        "--data", "cifar10", "--width", 4, "--batch-size", 8, "--quick", pictures=True
    )
    assert status == 0
    assert "40 images of shape [3, 32, 32]" in output
    assert_picture(tmp_path / "cifar10" / "samples.png", panels=2)


def test_every_epoch_shows_every_sample_once():
    order = data.EndlessShuffle(n=10, batch_size=4, seed=0, batches_used=0)
    shown = list(chain.from_iterable(islice(order, 5)))
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
    assert shown[:10] != shown[10:]


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (3, 8), (8, 8)])
def test_the_order_goes_on_from_any_batch(n, batch_size):
    whole = list(islice(data.EndlessShuffle(n, batch_size, 5, 0), 9))
    for used in range(9):
        rest = islice(data.EndlessShuffle(n, batch_size, 5, used), 9 - used)
        assert list(rest) == whole[used:]
