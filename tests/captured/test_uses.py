"""Losses with a double backward of other fields."""

import pytest
import torch
from torch import nn

from tests.captured.training import assert_equal, replayed


def smooth(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs))


def pde(net):
    """The heat equation, u_t = u_xx."""

    def loss(points):
        points = points.detach().requires_grad_()
        (first,) = torch.autograd.grad(net(points).sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 1].sum(), points, create_graph=True)
        return (first[:, 0] - second[:, 1]).square().mean()

    return loss, lambda: (torch.rand(8, 2, dtype=torch.float64),)


def force_matching(net):
    def loss(positions, energies, forces):
        positions.requires_grad_()
        predicted = net(positions).squeeze(1)
        (slopes,) = torch.autograd.grad(predicted.sum(), positions, create_graph=True)
        error = (predicted - energies).square().mean()
        return error + (slopes + forces).square().mean(), error.detach()

    def batch():
        return tuple(torch.randn(*shape, dtype=torch.float64) for shape in [(8, 2), (8,), (8, 2)])

    return loss, batch


def maml(net):
    def loss(support, query):
        weights = dict(net.named_parameters())
        inner = torch.func.functional_call(net, weights, (support,)).square().mean()
        slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
        adapted = {n: w - 0.1 * s for (n, w), s in zip(weights.items(), slopes, strict=True)}
        return torch.func.functional_call(net, adapted, (query,)).square().mean()

    return loss, lambda: tuple(torch.randn(2, 8, 2, dtype=torch.float64))


def hessian_vector_product_by_transforms(net):
    def loss(points):
        weights = dict(net.named_parameters())

        def energy(x):
            return torch.func.functional_call(net, weights, (x,)).squeeze()

        slopes = torch.func.vmap(torch.func.grad(energy))(points)
        return slopes.square().sum()

    return loss, lambda: (torch.randn(8, 2, dtype=torch.float64),)


@pytest.mark.parametrize("make", [pde, force_matching, maml, hessian_vector_product_by_transforms])
def test_training_is_the_same(make):
    results = []
    for capture in (replayed, lambda loss: loss):
        torch.manual_seed(0)
        net = smooth(2, 1).double()
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        loss, batch = make(net)
        loss = capture(loss)
        seen = []
        for _ in range(4):
            optimiser.zero_grad()
            value = loss(*batch())
            value, *logged = value if isinstance(value, tuple) else (value,)
            value.backward()
            optimiser.step()
            seen += [value.detach(), *logged]
        results.append([*seen, *(p.detach() for p in net.parameters())])
        if capture is replayed:
            assert [graph.runs for graph in loss.report().graphs] == [3]
    assert_equal(*results)
