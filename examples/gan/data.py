"""The data sets: real samples, all of one shape, handed out in batches of a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

IMAGE_SETS = ("digits", "mnist", "cifar10")
POINT_SETS = ("gaussians8", "gaussians25", "swissroll")
IMAGE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
N_POINTS = 100_000
N_HELD_OUT = 599  # of the 1797 digits


class DataError(Exception):
    """The data cannot be used; the message says why and what to do."""


class TensorSamples(Dataset[Tensor]):
    """Samples held in memory: floating as they are, bytes as images in [-1, 1]."""

    def __init__(self, samples: Tensor):
        self.samples = samples
        self.shape = samples.shape[1:]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: list[int]) -> Tensor:
        """The batch [len(indices), *shape]; DataLoader calls it with the indices of a batch."""
        batch = self.samples[torch.as_tensor(indices)]
        return batch if batch.is_floating_point() else batch.float() / 127.5 - 1


class FolderSamples(Dataset[Tensor]):
    """The images under a folder, cut to a square about their centre, read when asked for."""

    def __init__(self, folder: Path, size: int, channels: int):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give --data folder:PATH the path of one")
        self.paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_FILES)
        if not self.paths:
            raise DataError(f"no images under {folder}; looked for {', '.join(IMAGE_FILES)}")
        self.shape = torch.Size((channels, size, size))
        unreadable = [path for path in self.paths if not is_image(path)]
        if unreadable:
            raise DataError(
                f"{len(unreadable)} of the {len(self.paths)} files under {folder} cannot be read as"
                f" images, the first is {unreadable[0]}; repair or remove them"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: list[int]) -> Tensor:
        pixels = torch.stack([self.read(self.paths[i]) for i in indices])
        return pixels.float() / 127.5 - 1

    def read(self, path: Path) -> Tensor:
        """One image as bytes [channels, size, size]."""
        import numpy as np
        from PIL import Image, ImageOps

        channels, size, _ = self.shape
        try:
            with Image.open(path) as image:
                image = ImageOps.exif_transpose(image)
                if image.mode == "P":  # its transparency, if any, is lost only by way of RGBA
                    image = image.convert("RGBA")
                image = image.convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        except Exception as error:  # Pillow's readers raise many kinds
            raise DataError(
                f"cannot read the image {path} ({error}); repair or remove it"
            ) from None
        return torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)


def is_image(path: Path) -> bool:
    """Whether the file begins like an image; cheap enough to ask of every file before training."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except Exception:  # Pillow's readers raise many kinds
        return False


def load(name: str, size: int, channels: int, root: str) -> TensorSamples | FolderSamples:
    """The samples that --data names; DataError if they are not there."""
    if name.startswith("folder:"):
        return FolderSamples(Path(name.removeprefix("folder:")), size, channels)
    if name == "digits":
        return TensorSamples(digits(size))
    if name in ("mnist", "cifar10"):
        return TensorSamples(torchvision_images(name, size, root))
    return TensorSamples({"swissroll": swissroll}.get(name, lambda: gaussians(name))())


def digits(size: int) -> Tensor:
    """The 1797 handwritten digits of 8x8 pixels that scikit-learn ships, [1797, 1, size, size]."""
    from sklearn.datasets import load_digits

    pixels, _ = load_digits(return_X_y=True)  # [1797, 64], from 0 to 16
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
    images = F.pad(
        images, (1, 1, 1, 1), value=-1.0
    )  # they touch the edge: a margin sets them apart
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(-1, 1)


def digit_labels() -> Tensor:
    """Which digit each of them shows, [1797], from 0 to 9."""
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits(return_X_y=True)[1]).long()


class SplitDigits(NamedTuple):
    """Digits to train on and digits that are held out, with their labels."""

    training: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


def split_digits(size: int, seed: int) -> SplitDigits:
    """Each seed holds out a third of its own."""
    images, labels = digits(size), digit_labels()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out, training = order[:N_HELD_OUT], order[N_HELD_OUT:]
    return SplitDigits(images[training], labels[training], images[held_out], labels[held_out])


def torchvision_images(name: str, size: int, root: str) -> Tensor:
    """The training images of MNIST or CIFAR-10 as bytes [N, channels, size, size]."""
    try:
        from torchvision import datasets  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another torch
        raise DataError(
            f"--data {name} needs torchvision, which cannot be imported ({error}); install the one"
            f" that goes with torch {torch.__version__}"
        ) from None
    kind = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}[name]
    try:
        images = torch.as_tensor(kind(root, train=True, download=False).data)
    except RuntimeError:
        raise DataError(
            f"no complete {kind.__name__} under {root}; give the folder where torchvision keeps its"
            " files as --root, or fetch them once with"
            f' torchvision.datasets.{kind.__name__}("{root}", download=True)'
        ) from None
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    if images.shape[-1] == size:
        return images.contiguous()
    shrunk = [  # a thousand at a time: as floats they are four times as large
        F.interpolate(part.float(), size=size, mode="bicubic", antialias=True).round().clamp(0, 255)
        for part in images.split(1000)
    ]
    return torch.cat([part.byte() for part in shrunk])


def gaussians(name: str, n: int = N_POINTS) -> Tensor:
    """8 Gaussians on a circle or 25 on a grid, scaled as in the WGAN-GP authors' code, [n, 2]."""
    generator = torch.Generator().manual_seed(0)
    if name == "gaussians8":
        angles = torch.arange(8) * (torch.pi / 4)
        centres, deviation, scale = 2 * torch.stack([angles.cos(), angles.sin()], 1), 0.02, 2**0.5
    else:
        side = torch.arange(-2.0, 3.0) * 2
        centres, deviation, scale = torch.cartesian_prod(side, side), 0.05, 2 * 2**0.5
    chosen = torch.randint(len(centres), (n,), generator=generator)
    return (centres[chosen] + deviation * torch.randn(n, 2, generator=generator)) / scale


def swissroll(n: int = N_POINTS) -> Tensor:
    """The Swiss roll seen from its end, scaled as in the WGAN-GP authors' code, [n, 2]."""
    from sklearn.datasets import make_swiss_roll

    roll, _ = make_swiss_roll(n, noise=0.25, random_state=0)
    return torch.from_numpy(roll[:, [0, 2]]).float() / 7.5


class EndlessShuffle(Sampler[list[int]]):
    """Index batches without end: one permutation after the other, each a function of its number.

    So the order is known from the seed and the number of batches already used, and that is all a
    checkpoint has to remember of it.
    """

    def __init__(self, n: int, batch_size: int, seed: int, batches_used: int):
        self.n, self.batch_size, self.seed, self.batches_used = n, batch_size, seed, batches_used

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skip = divmod(self.batches_used * self.batch_size, self.n)
        pending = self.permutation(epoch)[skip:]
        while True:
            while len(pending) < self.batch_size:
                epoch += 1
                pending = torch.cat([pending, self.permutation(epoch)])
            yield pending[: self.batch_size].tolist()
            pending = pending[self.batch_size :]

    def permutation(self, epoch: int) -> Tensor:
        # The factor keeps apart the orders of neighbouring seeds.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.n, generator=generator)


def batches(
    samples: TensorSamples | FolderSamples,
    *,
    batch_size: int,
    seed: int,
    batches_used: int,
    device: torch.device,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Batches of real samples [batch_size, *shape] on the device, without end."""
    loader = DataLoader(
        samples,
        batch_sampler=EndlessShuffle(len(samples), batch_size, seed, batches_used),
        collate_fn=unchanged,
        num_workers=workers,
        generator=torch.Generator(),  # else it takes a number from the one that training draws from
    )
    for batch in loader:
        yield batch.to(device)


def unchanged(batch: Any) -> Any:
    """The collate_fn for samples that come as a batch already."""
    return batch
