"""The gradient of the points, of which nothing becomes: left out, and nothing else with it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.flops import FlopCounter
from tests.second_order.twice import assert_exact, by_backward
from wgan_fast import critic_loss, fast_gradient_penalty
from wgan_fast.second_order import efficient_double_backward, without_thresholds

BATCH, SIZE, WIDTH = 6, 5, 7
PRODUCT = 2 * BATCH * SIZE * WIDTH


def mlp(activation=nn.SiLU, bias=True):
    return nn.Sequential(
        nn.Linear(SIZE, WIDTH, bias), activation(), nn.Linear(WIDTH, WIDTH), activation(),
        nn.Linear(WIDTH, 1),
    ).double()  # fmt: skip


def samples(*shape):
    return torch.randn(2, BATCH, *(shape or (SIZE,)), dtype=torch.float64)


def penalty(critic, real, fake, double_backward="pruned"):
    epsilon = torch.linspace(0, 1, BATCH, dtype=torch.float64)
    with without_thresholds():
        return fast_gradient_penalty(
            critic, real, fake, epsilon=epsilon, double_backward=double_backward
        )


def both(critic, *pair):
    """What the penalty's backward() leaves, with and without the library's double backward."""
    leaves = [each for each in critic.parameters() if each.requires_grad]
    return [by_backward(penalty(critic, *pair, how), leaves) for how in ("pruned", "plain")]


def flops(critic, pair, double_backward):
    penalty(critic, *pair, double_backward).backward()
    with FlopCounter() as counter:
        penalty(critic, *pair, double_backward).backward()
    return counter.flops


@pytest.mark.parametrize("bias", [True, False])
def test_one_product_is_spared_and_no_number_changes(bias):
    critic, pair = mlp(bias=bias), samples()
    assert flops(critic, pair, "plain") - flops(critic, pair, "pruned") == PRODUCT
    assert_exact(*both(critic, *pair))


def test_of_a_convolution_too():
    critic, pair = (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.SiLU(), nn.Conv2d(3, 1, 3)),
        samples(2, 5, 5),
    )
    critic.double()
    ours, theirs = (flops(critic, pair, how) for how in ("pruned", "plain"))
    assert theirs - ours >= 2 * BATCH * 2 * 3 * 9 * 9
    assert_exact(*both(critic, *pair))


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight"])
def test_frozen_parameters(frozen):
    critic = mlp()
    critic.get_parameter(frozen).requires_grad_(False)
    assert_exact(*both(critic, *samples()))


def test_the_loss_of_a_whole_step():
    critic, pair = mlp(), samples()
    found = []
    for how in ("pruned", "plain"):
        with without_thresholds():
            loss = critic_loss(critic, *pair, loss="gan", r1=3.0, double_backward=how)
        with FlopCounter() as counter:
            found.append(by_backward(loss, list(critic.parameters())))
        found.append(counter.flops)
    assert found[3] - found[1] == PRODUCT
    assert_exact(found[0], found[2])


def test_a_further_derivative():
    critic, pair = mlp(), samples()
    leaves, found = list(critic.parameters()), []
    for how in ("pruned", "plain"):
        grads = torch.autograd.grad(penalty(critic, *pair, how), leaves[:-1], create_graph=True)
        value = sum(grad.square().sum() for grad in grads)
        found.append(torch.autograd.grad(value, leaves[:-1]))
    assert_exact(*found)


class Differentiating(nn.Module):
    """Its score takes the gradient of its own features, with respect to its very argument."""

    def __init__(self, recorded):
        super().__init__()
        self.net, self.recorded = mlp(), recorded

    def forward(self, x):
        energy = self.net(x)
        (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=self.recorded,
                                       retain_graph=True)  # fmt: skip
        return energy + (energy.detach() if self.recorded else 1) * slope.square().sum(1, True)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_critic_that_asks_for_the_gradient_itself(recorded):
    assert_exact(*both(Differentiating(recorded), *samples()))


class Keeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x):
        self.points = x
        return self.net(x)


def test_who_asks_for_the_gradient_of_the_points_gets_it():
    critic, pair = Keeping(), samples()
    found = []
    for how in ("pruned", "plain"):
        value = penalty(critic, *pair, how)
        found.append(torch.autograd.grad(value, critic.points))
    assert_exact(*found)


def test_leaves_of_ones_own_get_their_gradient():
    critic, (x, _) = mlp(), samples()
    found = []
    for context in (efficient_double_backward, torch.enable_grad):
        points = x.clone().requires_grad_()
        with without_thresholds(), context():
            scores = critic(points)
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        gradient.square().sum().backward()
        found.append([points.grad])
    assert_exact(*found)


class First(nn.Module):
    """``first(net[0], x)``, and the rest of the net after it."""

    def __init__(self, first):
        super().__init__()
        self.net, self.first = mlp(), first

    def forward(self, x):
        return self.net[1:](self.first(self.net[0], x)).flatten(1)


#: Ways to call the first layer for which there is no other.
LEFT = {
    "3-d": lambda layer, x: layer(x.unsqueeze(1)),
    "made of the points": lambda layer, x: layer(2 * x),
    "a bias of one number": lambda layer, x: F.linear(x, layer.weight, layer.bias[:1]),
    "a bias for each sample": lambda layer, x: F.linear(
        x, layer.weight, layer.bias.expand(len(x), -1)
    ),
    "a vector of weights": lambda layer, x: F.linear(x, layer.weight[0]).unsqueeze(1) * layer.bias,
}


@pytest.mark.parametrize("first", LEFT.values(), ids=list(LEFT))
def test_what_is_left_to_pytorch(first):
    critic, pair = First(first), samples()
    assert_exact(*both(critic, *pair))
    assert flops(critic, pair, "plain") == flops(critic, pair, "pruned")
