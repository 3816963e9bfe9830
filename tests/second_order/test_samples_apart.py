"""Which functions keep the samples of a batch apart: there alone scores come from gradients.

Batches are as large as other dimensions are, so that nothing but the order of dimensions tells them
apart.
"""

import pytest
import torch
import torch.nn.functional as F

from tests.second_order.operators import samples_grids
from tests.second_order.steps import BATCH, Kind, assert_kind

IMAGE = (3, 5, 5)


def mixes(node):
    return f"{node} may mix the samples of the batch"


def unknown(node):
    return f"{node} is not known to be linear piece by piece"


def through(change):
    """A critic that changes the square ``[B, 4]`` of its features, which has as many rows."""
    return lambda p, x: (change(x[:, :4] @ p.square) @ p.square).relu().sum(1)


def columns():
    """``[4, 1]``: a vector is not added to, but beside, the scores ``[B]``."""
    return torch.arange(1.0, 5.0, dtype=torch.float64)[:, None]


def of_hidden(change):
    return lambda p, x: p.scores(change(p.hidden(x)))


def linear_of_rows(p, x):
    """Each half of a sample is a row of its own."""
    return F.linear(x.reshape(-1, 2), p.wide[:3, :2], p.six[:3]).relu().reshape(len(x), -1) @ p.six


def convolution_of_channels(p, x):
    """Channels are resampled one by one, as where a filter has no channels of its own."""
    rows = F.conv2d(x.reshape(-1, 1, 5, 5), p.kernel[:1, :1], p.b4[:1])
    return F.leaky_relu(rows, 0.2).reshape(len(x), -1).sum(1)


def constants_of_rows(p, x):
    rows = x.reshape(-1, 2) + torch.arange(2.0 * len(x), dtype=x.dtype)[:, None]
    return rows.relu().reshape(len(x), -1).sum(1)


def fewer_rows(p, x):
    """Of two rows for each sample, the first four are kept: those of two samples."""
    rows = p.hidden(x).view(-1, 3)
    return p.scores(rows.gather(1, torch.zeros(BATCH, 6, dtype=torch.long)))


def grouped_by_sample(p, x):
    """All samples as channels of one, as weights that are modulated by sample are applied."""
    h = F.conv2d(x.reshape(1, -1, 5, 5), p.kernel.repeat(BATCH, 1, 1, 1), groups=BATCH)
    return h.relu().reshape(BATCH, -1).sum(1)


def sampled(p, x):
    """A spatial transformer that zooms."""
    zoom = (0.8 * torch.eye(2, 3, dtype=x.dtype)).expand(len(x), 2, 3)
    grid = F.affine_grid(zoom, [len(x), 4, 3, 3], align_corners=False)
    return F.grid_sample(p.image(x), grid, align_corners=False).relu().sum((1, 2, 3))


def heads(p, x):
    """A product for each sample and head."""
    rows = p.hidden(x).view(len(x) * 2, 1, 3)
    return torch.bmm(rows, p.wide.view(2, 4, 3).mT.repeat(len(x), 1, 1)).relu().view(len(x), -1)


KINDS = {
    "permute": Kind(through(lambda h: h.permute(1, 0)), way=mixes("PermuteBackward0")),
    "permute, from the end": Kind(
        lambda p, x: (x.reshape(4, 1, 4).permute(-1, 1, 0).reshape(4, 4) @ p.square).relu().sum(1),
        (4,),
        mixes("PermuteBackward0"),
    ),
    "permute, the others": Kind(
        lambda p, x: p.image(x).permute(-4, -2, -1, 1).flatten(1).relu().sum(1), IMAGE
    ),
    "transpose": Kind(through(lambda h: h.transpose(-2, -1)), way=mixes("TransposeBackward0")),
    "t": Kind(through(lambda h: h.t()), way=unknown("TBackward0")),
    "mT": Kind(through(lambda h: h.mT), way=mixes("TransposeBackward0")),
    "movedim": Kind(through(lambda h: h.movedim(0, -1)), way=mixes("PermuteBackward0")),
    "weights from the left": Kind(
        lambda p, x: (p.square @ x[:, :4]).relu().sum(1), way="MmBackward0 has weights that depend"
    ),
    "weights from the input": Kind(
        lambda p, x: F.linear(p.hidden(x), x.mean(0)[:1] * p.w2), way="MmBackward0 has weights"
    ),
    "bias from the input": Kind(
        lambda p, x: F.linear(x[:, :4], p.square, x.sum(1)).relu().mean(1),
        way=mixes("AddmmBackward0"),
    ),
    "sum": Kind(
        lambda p, x: (x[:, :4] @ p.square).sum(-2).relu(), way=mixes("SumBackward1")
    ),
    "mean, added": Kind(of_hidden(lambda h: h + h.mean(0)), way=mixes("AddBackward0")),
    "mean, kept": Kind(
        of_hidden(lambda h: h + h.mean(0, keepdim=True)), way=mixes("AddBackward0")
    ),
    "deviation": Kind(of_hidden(lambda h: h + h.std(0).mean()), way=mixes("AddBackward0")),
    "detached mean": Kind(of_hidden(lambda h: h * h.detach().mean(0))),
    "cumsum": Kind(of_hidden(lambda h: h.cumsum(0)), way=mixes("CumsumBackward0")),
    "cumsum of features": Kind(of_hidden(lambda h: h.cumsum(-1))),
    "sort": Kind(of_hidden(lambda h: h.sort(0)[0]), way=mixes("SortBackward0")),
    "sort of features": Kind(of_hidden(lambda h: h.sort(1)[0])),
    "flip": Kind(of_hidden(lambda h: h.flip(-2)), way=mixes("FlipBackward0")),
    "flip of features": Kind(of_hidden(lambda h: h.flip(1))),
    "roll": Kind(of_hidden(lambda h: h.roll(1, 0)), way=mixes("RollBackward0")),
    "roll of all": Kind(of_hidden(lambda h: h.roll(1)), way=mixes("RollBackward0")),
    "roll of features": Kind(of_hidden(lambda h: h.roll(1, -1))),
    "unfold": Kind(
        of_hidden(lambda h: h.unfold(-2, 1, 1).squeeze(-1)), way=mixes("UnfoldBackward0")
    ),
    "unfold of features": Kind(lambda p, x: p.hidden(x).unfold(1, 3, 1).amax(2).sum(1)),
    "gather": Kind(
        of_hidden(lambda h: h.gather(0, torch.arange(4).flip(0)[:, None].expand(4, 6))),
        way=mixes("GatherBackward0"),
    ),
    "gather of features": Kind(lambda p, x: p.hidden(x).gather(1, columns().long()).sum(1)),
    "gather of fewer rows": Kind(fewer_rows, way=mixes("GatherBackward0")),
    "index": Kind(of_hidden(lambda h: h[torch.tensor([1, 0, 3, 2])]), way=mixes("IndexBackward0")),
    "index of features": Kind(of_hidden(lambda h: h[:, torch.arange(5, -1, -1)])),
    "two indices": Kind(
        lambda p, x: x[:, [0, 1, 2, 3], [0, 1, 2, 3]].matmul(p.square).relu().sum(1), (4, 4)
    ),
    "two indices apart": Kind(
        lambda p, x: (x[:, [0, 1, 2, 3], :, [0, 1, 2, 3]].flatten(1) @ p.square).relu().sum(1),
        (4, 1, 4),
        mixes("IndexBackward0"),
    ),
    "an index of two dimensions": Kind(
        lambda p, x: x[:, torch.tensor([[0, 1], [1, 2]])].flatten(1).matmul(p.square).relu().sum(1)
    ),
    "cat": Kind(
        of_hidden(lambda h: torch.cat([h[:1], h[1:]])), way=unknown("CatBackward0")
    ),
    "pad": Kind(
        of_hidden(lambda h: F.pad(h, (0, 0, 1, -1))), way=unknown("ConstantPadNdBackward0")
    ),
    "product of rows and columns": Kind(
        lambda p, x: (p.scores(p.hidden(x)).squeeze(1) * columns()).mean(1),
        way=mixes("MulBackward0"),
    ),
    "sum of rows and columns": Kind(
        lambda p, x: (p.scores(p.hidden(x)).squeeze(1) + columns()).relu().mean(1),
        way=mixes("AddBackward0"),
    ),
    "expanded": Kind(
        lambda p, x: p.scores(p.hidden(x)).squeeze(1).expand(4, 4).mean(1),
        way=mixes("ExpandBackward0"),
    ),
    "samples that are numbers": Kind(
        lambda p, x: F.linear(x, p.square, p.b4).relu(), (), unknown("AddmmBackward0")
    ),
    "numbers, unmixed": Kind(
        lambda p, x: F.linear(x[:, None], p.w1[:, :1], p.b1).relu().sum(1), ()
    ),
    "identity": Kind(lambda p, x: x, ()),
    "one sample": Kind(lambda p, x: p.scores(p.hidden(x).roll(1)), batch=1),
    "scores [B, 1, 1, 1]": Kind(lambda p, x: p.scores(p.hidden(x))[:, :, None, None]),
    "scores [1, B]": Kind(
        lambda p, x: p.scores(p.hidden(x)).t(), way="scores of shape [1, 4] are not one for each"
    ),
    "several rows": Kind(linear_of_rows, (4,)),
    "several rows, a convolution": Kind(convolution_of_channels, IMAGE),
    "several rows, other constants": Kind(constants_of_rows, (4,)),
    "several rows, heads": Kind(lambda p, x: heads(p, x) @ p.six.repeat(2)[:8]),
    "one row": Kind(grouped_by_sample, IMAGE, mixes("_ConvolveBackward")),
    "tokens": Kind(
        lambda p, x: (p.hidden(x).view(4, 2, 3) @ p.wide.view(8, 3).t()).relu().sum((1, 2))
    ),
    "einsum": Kind(
        lambda p, x: torch.einsum("bhi,hio->bho", p.hidden(x).view(4, 2, 3), p.wide.view(2, 3, 4))
        .relu().sum((1, 2)),
        way=mixes("PermuteBackward0"),
    ),
    "windows": Kind(lambda p, x: F.fold(F.unfold(x, 3), (5, 5), 3).relu().sum((1, 2, 3)), IMAGE),
    "pixel shuffle": Kind(lambda p, x: F.pixel_shuffle(p.image(x), 2).relu().sum((1, 2, 3)), IMAGE),
    "spatial transformer": Kind(sampled, IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("gain", [1.0, 0.0], ids=["", "silent"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=[samples_grids] if kind.function is sampled else [])
        for name, kind in KINDS.items()
    ],
)
def test_samples_apart(kind, gain):
    assert_kind(kind, gain)
