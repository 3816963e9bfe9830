"""docs/distributed.md: its table is measured, its recipes train as one process does."""

import copy
import re

import pytest
import torch
import torch.distributed as dist

from tests.comparing import assert_close
from tools import pages
from wgan_fast import fast_gradient_penalty

from .table import ENGINES, FEATURES, PAGE, REFUSED, row
from .training import critic_of, my_rows, samples, whole

RECIPES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_table_has_every_engine_and_feature():
    header, _, *rows = pages.read("engines", PAGE).splitlines()
    assert header.strip("| ").split(" | ") == list(FEATURES)
    assert [each.split(" | ")[0].removeprefix("| ") for each in rows] == list(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_table_is_measured(pair, engine):
    rows = [each.strip("| ").split(" | ") for each in pages.read("engines", PAGE).splitlines()]
    (told,) = [each for each in rows if each[0] == engine]
    for measured, cell in zip(row(pair, engine)[1:], told[1:], strict=True):
        assert (measured == REFUSED) == (cell == REFUSED), "python -m tests.distributed.table"
        assert cell == REFUSED or max(float(measured), float(cell)) < 1e-10


def gradients_of_recipe(recipe):
    """The gradients that a recipe leaves behind, and the textbook way to them: each process for
    itself, and their mean."""
    alone = critic_of("smooth")
    rows = slice(None) if "tensor" in recipe else my_rows()
    real, fake, _ = samples("smooth", 0, rows)
    names = {"critic": copy.deepcopy(alone), "real": real, "fake": fake}
    torch.manual_seed(7)
    exec(recipe, names)
    torch.manual_seed(7)
    loss = alone(fake).mean() - alone(real).mean() + fast_gradient_penalty(alone, real, fake)
    loss.backward()
    for weight in alone.parameters():
        dist.all_reduce(weight.grad)
        weight.grad /= dist.get_world_size()
    return [[whole(p.grad) for p in net.parameters()] for net in (names["critic"], alone)]


@pytest.mark.parametrize("recipe", RECIPES, ids=["replicated", "sharded", "tensor parallel"])
def test_the_recipes_train(pair, recipe):
    for results in pair.run(gradients_of_recipe, recipe):
        for ours, theirs in zip(*results, strict=True):
            assert_close(ours, theirs, 1e-7 if "finite_difference" in recipe else 1e-12)


def test_the_recipes_compute_the_penalty_last():
    for recipe in RECIPES:
        assert recipe.index("critic(fake)") < recipe.index("fast_gradient_penalty(critic")
