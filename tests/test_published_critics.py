"""A whole critic step of critics as their papers' repositories write them."""

import pytest
import torch

from tests.published_critics import PUBLISHED
from tests.second_order.steps import BATCH, assert_step

every_critic = pytest.mark.parametrize("published", PUBLISHED.values(), ids=list(PUBLISHED))


@every_critic
def test_the_usual_numbers_by_the_shortest_way(published):
    build, shape, way = published
    ways = assert_step(build().double(), *torch.randn(2, BATCH, *shape, dtype=torch.float64))
    assert all(each.startswith(way) for each in ways), ways
