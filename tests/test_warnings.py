"""A warning points at the line of the user's that called a penalty, whichever way it was called."""

import functools
import inspect
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wgan_fast import (
    Lazy,
    dragan_penalty,
    fast_gradient_penalty,
    gradient_norms,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from wgan_fast._penalise.warn import warn

#: Every member of the family, and how many batches of samples it takes.
MEMBERS = {
    fast_gradient_penalty: 2,
    r1_penalty: 1,
    r2_penalty: 1,
    dragan_penalty: 1,
    wgan_div_penalty: 2,
    max_gradient_penalty: 2,
    gradient_norms: 2,
}
every_member = pytest.mark.parametrize("penalty_of", MEMBERS, ids=lambda member: member.__name__)


def arguments(penalty_of):
    """A critic that is warned of, and samples."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    return net, *torch.randn(MEMBERS[penalty_of], 6, 3)


def line_of_warning(call):
    """The line that a warning points at, counted from the beginning of ``call``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    (warning,) = caught
    assert warning.filename == __file__
    return warning.lineno - inspect.getsourcelines(call)[1]


@every_member
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_every_member(penalty_of, chunk_size):
    def call():
        given = arguments(penalty_of)
        penalty_of(*given, chunk_size=chunk_size)  # line 2

    assert line_of_warning(call) == 2


@every_member
def test_through_a_partial(penalty_of):
    def call():
        critic, *samples = arguments(penalty_of)
        partial = functools.partial(functools.partial(penalty_of, critic), chunk_size=4)
        partial(*samples)  # lines 3 to 5

    assert 3 <= line_of_warning(call) <= 5


@every_member
def test_through_a_decorator_of_pytorch(penalty_of):
    def call():
        decorated = torch.no_grad()(torch.enable_grad()(penalty_of))
        decorated(*arguments(penalty_of))  # line 2

    assert line_of_warning(call) == 2


@pytest.mark.parametrize("penalty_of", [m for m in MEMBERS if m is not gradient_norms])
def test_through_lazy(penalty_of):
    def call():
        lazily = Lazy(every=4)
        lazily(penalty_of, *arguments(penalty_of))  # line 2

    assert line_of_warning(call) == 2


@pytest.mark.parametrize("double_backward", ["pruned", "plain", "finite_difference"])
@pytest.mark.parametrize("reduction", ["sum", "none", "max"])
def test_through_a_checkpoint(double_backward, reduction):
    def call():
        given = arguments(fast_gradient_penalty)
        keywords = {"double_backward": double_backward, "reduction": reduction, "chunk_size": 2}
        fast_gradient_penalty(*given, **keywords)  # line 3

    assert line_of_warning(call) == 3


def test_from_a_checkpoint_of_the_user_s():
    def call():
        x = torch.ones(2, requires_grad=True)
        checkpoint(lambda x: warn("once") or x**2, x, use_reentrant=False)  # line 2

    assert line_of_warning(call) == 2


def test_a_warning_may_be_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="batch normalisation"):
            r1_penalty(*arguments(r1_penalty))
