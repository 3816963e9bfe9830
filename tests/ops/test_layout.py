"""How a batch lies in memory: which layouts are taken as they are, what becomes of the others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.layouts import (
    LAYOUTS,
    SHAPES,
    channels_last,
    contiguous,
    every_second_sample,
    one_sample_for_all,
    overlapping_samples,
    scattered,
    transposed,
    without_first_column,
)
from wgan_fast.ops._layout import (
    as_rows,
    compute_dtype,
    empty_packed_like,
    is_rows,
    packed_like,
    per_sample,
    rows_like,
)

DENSE = [
    contiguous,
    every_second_sample,
    without_first_column,
    one_sample_for_all,
    overlapping_samples,
    transposed,
    channels_last,
]
SHAPE = (4, 3, 5, 2)


def occupied(sample: torch.Tensor) -> list[int]:
    """The places in memory, counted in elements, that a sample's elements take, in order."""
    offsets = torch.zeros(sample.shape, dtype=torch.long)
    for d, (size, stride) in enumerate(zip(sample.shape, sample.stride(), strict=True)):
        shape = [1] * sample.dim()
        shape[d] = size
        offsets = offsets + (torch.arange(size) * stride).view(shape)
    return sorted(offsets.flatten().tolist())


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_rows_are_what_lies_in_one_piece(data, sizes):
    """Against the definition: a sample's elements fill the places 0 to n - 1, each once."""
    strides = [data.draw(st.integers(0, 30)) for _ in sizes]
    if data.draw(st.booleans()):  # more often one that is dense, in some order
        expected = 1
        for d in data.draw(st.permutations(range(1, len(sizes)))):
            strides[d], expected = expected, expected * sizes[d]
    x = torch.zeros(3000).as_strided(sizes, strides)
    assert is_rows(x) == (occupied(x[0]) == list(range(x[0].numel())))


@pytest.mark.parametrize("layout", DENSE)
def test_dense_samples_are_not_copied(layout):
    x = layout(SHAPE, torch.float32)
    assert as_rows(x) is x


def test_scattered_samples_are_copied():
    x = scattered(SHAPE, torch.float32)
    assert not is_rows(x)
    assert as_rows(x).is_contiguous()
    assert torch.equal(as_rows(x), x)


def test_a_batch_of_scalars_and_of_nothing():
    for shape in [(5,), (1,), (0,), (0, 3), (3, 0), (2, 0, 4)]:
        assert is_rows(torch.ones(shape))
        assert empty_packed_like(torch.ones(shape)).shape == shape
    assert is_rows(torch.ones(10)[::2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [s for s in SHAPES if torch.Size(s).numel() < 10_000], ids=str)
def test_packed_like(layout, shape):
    """The values of any result, in the layout of the input, one sample behind the other."""
    x = as_rows(layout(shape, torch.bfloat16))
    values = torch.randn(shape)
    packed = packed_like(x, values)
    assert packed.dtype == x.dtype
    assert torch.equal(packed, values.to(x.dtype))
    assert packed.stride()[1:] == x.stride()[1:] or packed[0].numel() == 1
    assert packed.shape[0] == 1 or packed.stride(0) == packed[0].numel()
    assert packed_like(x, packed) is packed


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other_layout", LAYOUTS)
def test_rows_like(layout, other_layout):
    """The values of ``other`` in the layout of ``x``; itself, if it has that already."""
    x = as_rows(layout(SHAPE, torch.float32))
    other = other_layout(SHAPE, torch.float64)
    like = rows_like(x, other)
    assert torch.equal(like, other)
    assert like.dtype == other.dtype
    assert like.stride()[1:] == x.stride()[1:]
    assert (like is other) == (other.stride()[1:] == x.stride()[1:])


def test_another_shape_is_left_to_the_operator():
    x = torch.ones(SHAPE)
    for other in [torch.ones(4, 3), torch.ones(4, 3, 5, 1), torch.ones(1, 3, 5, 2)]:
        assert rows_like(x, other) is other


def test_small_things():
    assert compute_dtype(torch.float64) == torch.float64
    assert {compute_dtype(d) for d in (torch.float32, torch.float16, torch.bfloat16)} == {
        torch.float32
    }
    assert per_sample(torch.arange(4), torch.ones(SHAPE)).shape == (4, 1, 1, 1)
    assert per_sample(torch.arange(4), torch.ones(4)).shape == (4,)
