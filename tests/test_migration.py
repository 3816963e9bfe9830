"""docs/migration.md: every call on it is run, and compared with the formula of the implementation.

The call is read off the page and evaluated with the names and the draws of the implementation.
"""

import functools
import re
from pathlib import Path

import pytest
import torch

import tests.textbook_implementations_of_scores  # noqa: F401 - it registers its own
import wgan_fast
from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.textbook_implementations import CLIENTS, B, H, W, setting

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"


def calls():
    """``{implementation: call}``, from all tables of the page."""
    found, last = {}, ""
    for row in re.findall(r"^\| (.+) \|$", PAGE.read_text(), flags=re.MULTILINE):
        name, _, here = row.split(" | ")
        if here != "here":
            last = name.replace("the same", last.partition(",")[0])
            assert last not in found
            found[last] = re.search(r"`(.+?)`", here)[1]
    return found


CALLS = calls()


def run(name):
    """``(what is set up, the client's penalty)``; the client draws under a seed."""
    names = setting()
    torch.manual_seed(1)
    return names, CLIENTS[name](names)


@pytest.mark.parametrize("name", CALLS)
def test_the_call_computes_what_the_implementation_does(name):
    theirs, expected = run(name)
    ours, _ = run(name)
    library = {each: getattr(wgan_fast, each) for each in wgan_fast.__all__}
    given = functools.partial(wgan_fast.fast_gradient_penalty, epsilon=ours.epsilon)
    names = {**library, **vars(ours), "torch": torch, "B": B, "H": H, "W": W}
    torch.manual_seed(1)
    penalty = eval(CALLS[name], {**names, "fast_gradient_penalty": given})
    assert_close(penalty, expected)
    assert_same_gradients(gradients_of(penalty, ours.critic), gradients_of(expected, theirs.critic))


def test_every_call_has_a_client_and_every_client_a_call():
    assert set(CLIENTS) == set(CALLS)
