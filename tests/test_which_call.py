"""docs/which-call.md: its examples run, its counts are counted, its reasons are the code's."""

import re

import pytest
import torch
from torch import nn

from benchmarks import passes
from tools import pages
from wgan_fast import critic_loss

PAGE = passes.PAGE.read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_examples_run_one_after_the_other(capsys):
    names = {}
    exec(EXAMPLES[0], names)  # imports and networks
    trained = [*names["critic"].parameters(), *names["generator"].parameters()]
    for example in EXAMPLES[1:]:
        for parameter in trained:
            parameter.grad = None
        exec(example, names)
        has_gradients = any(parameter.grad is not None for parameter in trained)
        assert has_gradients == ("backward()" in example)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert f"print(parts.ways)  # {printed}" in EXAMPLES[-1]


@pytest.mark.parametrize("loop", passes.LOOPS, ids=[loop.name for loop in passes.LOOPS])
def test_the_passes_of_each_loop(loop):
    rows = ["| " + " | ".join(row) + " |" for row in passes.rows(loop)]
    assert "\n".join(rows) in pages.read("passes", passes.PAGE), "type: python -m benchmarks.passes"


def test_the_table_of_passes_has_every_loop_and_no_other():
    rows = pages.read("passes", passes.PAGE).splitlines()[2:]
    ways = [way for loop in passes.LOOPS for way in loop.ways]
    assert [row.split(" | ")[1] for row in rows] == ways


# Why the backward pass is not shared.


def critic_of(activation=nn.LeakyReLU, scores=1, width=512):
    return nn.Sequential(
        nn.Linear(width, width), activation(), nn.Linear(width, width), activation(),
        nn.Linear(width, scores),
    )  # fmt: skip


def way(critic, dtype=torch.float32, **more):
    """How ``critic_loss`` says that it has differentiated the scores of real samples."""
    critic = critic.to(dtype)
    real, fake = torch.randn(2, 64, critic[0].in_features, dtype=dtype)
    return critic_loss(critic, real, fake, r1=1.0, return_parts=True, **more)[1].ways["real"]


def under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return way(critic_of())


def hooked():
    critic = critic_of()
    critic[1].register_full_backward_hook(lambda module, inputs, outputs: None)
    return way(critic)


class WithDeviation(nn.Module):
    """Minibatch deviation, which tells each sample about the others."""

    def forward(self, x):
        return x + x.std(0).mean().expand(len(x), 1)


def mixed():
    return way(nn.Sequential(*critic_of()[:-1], WithDeviation(), nn.Linear(512, 1)))


def traced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        return way(critic_of())


REASONS = {
    "Activation is not known to be linear piece by piece": lambda: way(critic_of(nn.SiLU)),
    "ExpandBackward0 may mix the samples of the batch": mixed,
    "scores of shape [64, 2] are not one for each sample": lambda: way(critic_of(scores=2)),
    "torch.bfloat16 has too few digits to prove it": lambda: way(critic_of(), torch.bfloat16),
    "autocast has too few digits to prove it": under_autocast,
    "the critic has hooks, which may change gradients": hooked,
    "the critic is too small for it to pay": lambda: way(critic_of(width=16)),
    "the call is being traced or transformed": traced,
    "nothing is cut": lambda: way(critic_of(), double_backward="plain"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_reasons_why_the_backward_pass_is_not_shared(reason):
    assert REASONS[reason]() == f"shared forward: {reason}"


def test_the_table_of_reasons_is_complete():
    table = PAGE.partition("| reason | where |\n|---|---|\n")[2].partition("\n\n")[0]
    assert [row.split("`")[1] for row in table.splitlines()] == list(REASONS)
