"""The gradients of a convolution, by other ways than PyTorch's: the same, and where they pay."""

import pytest
import torch

from tests.second_order.twice import assert_exact, points
from wgan_fast.second_order.layers import convolution_backward as backward
from wgan_fast.second_order.layers.convolution_backward import Geometry

theirs = torch.ops.aten.convolution_backward.default


def plain(n, stride=1, padding=0):
    return Geometry((stride,) * n, (padding,) * n, (1,) * n, False, (0,) * n, 1)


def case(input, weight, geometry):
    input, weight = points(*input).detach(), points(*weight).detach()
    grad = torch.randn_like(torch.convolution(input, weight, None, *geometry))
    return grad, input, weight, geometry


def expected(grad, input, weight, geometry):
    return theirs(grad, input, weight, None, *geometry, (True, True, False))[:2]


@pytest.fixture
def without_theirs(monkeypatch):
    def refuse(*_):
        raise AssertionError("PyTorch's way was taken")

    monkeypatch.setattr(backward, "_backward", refuse)


@pytest.mark.usefixtures("without_theirs")
@pytest.mark.parametrize("windows", [1, backward.WINDOWS], ids=["sample by sample", "at once"])
@pytest.mark.parametrize(
    ("input", "weight", "geometry"),
    [
        ((5, 1, 40), (6, 1, 7), plain(1, 4, 2)),
        ((5, 4, 9, 8), (6, 4, 4, 3), plain(2, 2, 1)),
    ],
    ids=["sound", "image"],
)
def test_the_input_of_few_channels(monkeypatch, windows, input, weight, geometry):
    monkeypatch.setattr(backward, "WINDOWS", windows)
    values = case(input, weight, geometry)
    assert_exact([backward.input_gradient(*values)], [expected(*values)[0]])


@pytest.mark.usefixtures("without_theirs")
@pytest.mark.parametrize(
    ("input", "weight", "geometry"),
    [
        ((2, 5, 4, 4), (6, 5, 4, 4), plain(2)),
        ((2, 5, 8, 8), (6, 5, 4, 4), plain(2, 2, 1)),
        ((2, 5, 64), (6, 5, 25), plain(1, 4, 11)),
        ((2, 5, 4096), (6, 5, 25), plain(1, 4, 11)),
    ],
    ids=["one output", "as wide", "a little more is computed", "long rows"],
)
def test_the_weight_that_is_wide_or_goes_over_long_rows(input, weight, geometry):
    values = case(input, weight, geometry)
    assert_exact([backward.weight_gradient(*values)], [expected(*values)[1]])


def test_everything_else_is_pytorch_s(without_theirs):
    grouped = plain(2)._replace(groups=5)
    for values in (
        case((2, 5, 9, 9), (6, 5, 3, 3), plain(2)),
        case((2, 5, 4, 4), (5, 1, 4, 4), grouped),
    ):
        with pytest.raises(AssertionError, match="PyTorch's way"):
            backward.input_gradient(*values)
        with pytest.raises(AssertionError, match="PyTorch's way"):
            backward.weight_gradient(*values)
    # As wide as its output, but the stride leaves a rest: 4x4 would be computed for 3x3.
    with pytest.raises(AssertionError, match="PyTorch's way"):
        backward.weight_gradient(*case((2, 5, 6, 6), (6, 5, 3, 3), plain(2, 2, 1)))
