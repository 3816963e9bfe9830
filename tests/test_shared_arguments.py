"""shared_arguments: what belongs to the whole batch is handed over uncut."""

import pytest
import torch

from tests.comparing import assert_close
from wgan_fast import fast_gradient_penalty, gradient_norms, max_gradient_penalty, r1_penalty

REAL, FAKE = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TABLE = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
LABELS = torch.arange(6)
given = {"epsilon": torch.full((6,), 0.3, dtype=torch.float64)}


def looking_up(x, labels, table):
    """A prototype for each of six classes: as many as there happen to be samples."""
    assert len(labels) == len(x)
    assert len(table) == 6
    return ((x - table[labels]) ** 2).sum(1) / 2


WAYS = {
    "by position": {"critic_args": (LABELS, TABLE), "shared_arguments": (1,)},
    "by name": {
        "critic_args": (LABELS,), "critic_kwargs": {"table": TABLE}, "shared_arguments": ("table",),
    },
    "in a list": {
        "critic_kwargs": {"labels": LABELS, "table": TABLE}, "shared_arguments": ["table"],
    },
}  # fmt: skip
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "max"])
def test_slices(way, reduction):
    given = {"epsilon": torch.full((6,), 0.3, dtype=torch.float64), "reduction": reduction}
    whole = fast_gradient_penalty(looking_up, REAL, FAKE, **way, **given)
    sliced = fast_gradient_penalty(looking_up, REAL, FAKE, **way, **given, chunk_size=4)
    assert_close(sliced, whole)


@every_way
def test_subsets(way):
    _, norms = r1_penalty(looking_up, REAL, **way, subset=0.5, return_norms=True)
    assert norms.shape == (3,)


@every_way
def test_every_function_takes_them(way):
    whole = gradient_norms(looking_up, REAL, FAKE, **given, **way)
    sliced = gradient_norms(looking_up, REAL, FAKE, **given, **way, chunk_size=2)
    for a, b in zip(sliced, whole, strict=True):
        assert_close(a, b)
    max_gradient_penalty(looking_up, REAL, FAKE, **way, chunk_size=2)


def test_without_them_what_has_a_row_for_each_sample_is_cut():
    with pytest.raises(AssertionError):
        fast_gradient_penalty(looking_up, REAL, FAKE, critic_args=(LABELS, TABLE), chunk_size=4)


@pytest.mark.parametrize(
    ("shared", "error", "message"),
    [
        ("table", TypeError, r"must be a tuple .*, but it is 'table'; write \('table',\)"),
        (1, TypeError, r"must be a tuple .*, but it is 1; write \(1,\)"),
        ((True,), TypeError, "must hold positions .* but it holds True"),
        ((1.0,), TypeError, "must hold positions .* but it holds 1.0"),
        ((2,), ValueError, "must hold positions in critic_args, .* which has 2, but it holds 2"),
        ((-1,), ValueError, "must hold positions in critic_args, .* but it holds -1"),
        (
            ("tables",),
            ValueError,
            "must hold names in critic_kwargs, which is 'a', but it holds 'tables'",
        ),
    ],
)
def test_says_what_is_wrong(shared, error, message):
    with pytest.raises(error, match=f"^shared_arguments {message}"):
        fast_gradient_penalty(
            looking_up, REAL, FAKE, critic_args=(LABELS, TABLE), critic_kwargs={"a": 1},
            shared_arguments=shared,
        )  # fmt: skip
