"""Forward mode, vectorised backward passes and traced graphs give what PyTorch gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from tests.second_order.twice import assert_exact, mlp, points, unchanged
from wgan_fast import fast_gradient_penalty
from wgan_fast.second_order import efficient_convolutions, prune_zero_paths


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.Tanh])
def test_forward_mode_is_pytorchs(activation):
    """The derivative of the penalty along a direction of the weights and the samples."""
    critic, x = mlp(5, 8, 8, 1, activation=activation), points(4, 5).detach()
    names = [name for name, _ in critic.named_parameters()]
    tangents = [torch.randn_like(p) for p in critic.parameters()]

    def tangent(prune):
        with forward_ad.dual_level():
            weights = [
                forward_ad.make_dual(p.detach().clone().requires_grad_(), t)
                for p, t in zip(critic.parameters(), tangents, strict=True)
            ]
            point = forward_ad.make_dual(x.clone().requires_grad_(), torch.ones_like(x))
            scores = torch.func.functional_call(
                critic, dict(zip(names, weights, strict=True)), (point,)
            )
            (gradients,) = torch.autograd.grad(scores.sum(), point, create_graph=True)
            penalty = (prune(gradients).norm(dim=1) - 1).square().mean()
            return forward_ad.unpack_dual(penalty).tangent

    theirs = tangent(lambda gradients: gradients)
    assert theirs != 0
    assert_exact([tangent(prune_zero_paths)], [theirs])


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("double_backward", ["pruned", "plain"])
def test_forward_mode_through_a_penalty(double_backward, backend):
    weight, tangent = points(8, 5).detach(), points(8, 5).detach()
    x = points(4, 5).detach()

    def critic(x, weight):
        return F.linear(x, weight).tanh().square().sum(1)

    def textbook(weight):
        point = x.clone().requires_grad_()
        (gradients,) = torch.autograd.grad(critic(point, weight).sum(), point, create_graph=True)
        return 10 * (gradients.norm(dim=1) - 1).square().mean()

    def ours(weight):
        return fast_gradient_penalty(
            critic, x, x, epsilon=torch.zeros(4).double(), critic_args=(weight,),
            double_backward=double_backward, backend=backend,
        )  # fmt: skip

    tangents = []
    for penalty_of_weight in (ours, textbook):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(weight.clone().requires_grad_(), tangent)
            tangents.append([forward_ad.unpack_dual(penalty_of_weight(dual)).tangent])
    assert_exact(*tangents)


def image_critic(channels, activation=nn.ReLU):
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), activation(), nn.Conv2d(6, 4, 3, 2, 1), activation(),
        nn.Flatten(), nn.Linear(36, 1),
    ).double()  # fmt: skip


#: Up to 4 channels, the gradient of the input is made by another way than PyTorch's.
each_channels = pytest.mark.parametrize("channels", [1, 3, 4, 5])


@each_channels
def test_vectorised_backward_pass(channels):
    critic, x = image_critic(channels), points(2, channels, 6, 6)
    leaves = [x, *critic.parameters()]
    results = []
    for context in (efficient_convolutions, torch.enable_grad):
        with context():
            scores = critic(x)
        results.append(
            torch.autograd.grad(scores, leaves, torch.eye(2).double()[..., None],
                                is_grads_batched=True)
        )  # fmt: skip
    assert_exact(*map(list, results))


@each_channels
def test_vectorised_backward_pass_that_is_differentiated(channels):
    """The input gradients of several scores at once, penalised."""
    critic, x = image_critic(channels, nn.Tanh), points(2, channels, 6, 6)
    results = []
    for context in (efficient_convolutions, torch.enable_grad):
        with context():
            scores = critic(x)
        (gradients,) = torch.autograd.grad(scores, x, torch.eye(2).double()[..., None],
                                           is_grads_batched=True, create_graph=True)  # fmt: skip
        penalty = gradients.square().sum()
        results.append(list(torch.autograd.grad(penalty, list(critic.parameters())[:-1])))
    assert_exact(*results)


@each_channels
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_vectorised_double_backward(channels, activation):
    critic, x = image_critic(channels, activation), points(2, channels, 6, 6)
    outgoing = torch.randn(3, *x.shape, dtype=torch.float64)
    results = []
    for context, prune in (
        (efficient_convolutions, prune_zero_paths),
        (torch.enable_grad, unchanged),
    ):
        with context():
            scores = critic(x)
        (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        results.append(
            torch.autograd.grad(prune(gradients), list(critic.parameters()), outgoing,
                                is_grads_batched=True, allow_unused=True)
        )  # fmt: skip
    assert_exact(list(results[0])[:1], list(results[1])[:1])


@each_channels
def test_vectorised_hessian(channels):
    critic, x = image_critic(channels, nn.Tanh), points(2, channels, 6, 6)

    def scores(x):
        with efficient_convolutions():
            return critic(x).sum()

    ours = torch.autograd.functional.hessian(scores, x, vectorize=True)
    theirs = torch.autograd.functional.hessian(lambda x: critic(x).sum(), x)
    assert_exact([ours], [theirs])


@each_channels
def test_a_traced_penalty_can_be_replayed_while_gradients_are_recorded(channels):
    critic, x = image_critic(channels), points(2, channels, 6, 6).detach()
    names = [name for name, _ in critic.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in critic.parameters()]

    def step(x, *weights):
        with efficient_convolutions():
            scores = torch.func.functional_call(
                critic, dict(zip(names, weights, strict=True)), (x,)
            )
        (gradients,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        penalty = (gradients.flatten(1).norm(dim=1) - 1).square().mean()
        return torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True)

    theirs = step(x.clone().requires_grad_(), *weights)
    traced = make_fx(step)(x.clone().requires_grad_(), *weights)
    assert_exact(list(traced(x.clone().requires_grad_(), *weights)), list(theirs))
