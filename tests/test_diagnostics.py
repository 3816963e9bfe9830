"""The critic's gradient norms on real samples, fake ones, and between them."""

import math

import pytest
import torch
from torch import nn

from tests.comparing import assert_close
from tests.critics import NAMED, conv_net
from tests.textbook_family import euclidean_norms, input_gradient, mixed
from wgan_fast import gradient_norms

NAMES = ["mlp_relu", "dcgan", "patch_gan", "projection_labels_in_kwargs", "attention", "lstm"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_norms_are_those_of_the_textbook(name, chunk_size, backend):
    case = NAMED[name]
    _, critic = case.make()
    real, fake = case.samples()
    given = case.arguments()
    found = gradient_norms(
        critic, real, fake, epsilon=case.epsilon(), chunk_size=chunk_size, backend=backend, **given
    )
    for norms, points in [
        (found.real, real),
        (found.fake, fake),
        (found.interpolates, mixed(real, fake, case.epsilon())),
    ]:
        assert not norms.requires_grad
        assert_close(norms, euclidean_norms(input_gradient(critic, points, **given)).detach())


def test_the_three_are_told_apart():
    real, fake = torch.full((2, 4), 2.0), torch.full((2, 4), -1.0)
    norms = gradient_norms(lambda x: (x**2).sum(1) / 2, real, fake, epsilon=torch.tensor([1.0, 0]))
    assert norms.real.tolist() == [4.0, 4.0]
    assert norms.fake.tolist() == [2.0, 2.0]
    assert norms.interpolates.tolist() == [4.0, 2.0]


@pytest.mark.parametrize(("norm", "expected"), [(1, 7.0), (2, 5.0), (math.inf, 4.0)])
def test_norm(norm, expected):
    real, fake = torch.randn(2, 3, 2)
    weight = torch.tensor([3.0, -4.0])
    for norms in gradient_norms(lambda x: x @ weight, real, fake, norm=norm):
        assert norms.tolist() == [expected] * 3


def test_leaves_everything_as_it_was():
    critic = conv_net()
    real, fake = (torch.randn(4, 3, 8, 8, requires_grad=True) for _ in range(2))
    seeds = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        seeds.append(gradient_norms(critic, real, fake, generator=generator).interpolates)
    assert torch.equal(*seeds)
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in critic.parameters())
    assert real.grad is None


def test_batch_normalisation_is_named_once():
    critic = conv_net(norm=nn.BatchNorm2d)
    real, fake = torch.randn(2, 4, 3, 8, 8)
    with pytest.warns(UserWarning, match=r"batch normalisation in training mode: 3 \(BatchNorm2d"):
        gradient_norms(critic, real, fake)
    gradient_norms(critic, real, fake)  # warnings are errors here


def test_says_what_is_wrong():
    real, fake = torch.randn(2, 4, 3)
    with pytest.raises(ValueError, match="fake must have the shape of real"):
        gradient_norms(nn.Linear(3, 1), real, fake[:2])
    with pytest.raises(TypeError, match="critic must be callable"):
        gradient_norms(None, real, fake)
    with pytest.raises(ValueError, match=r"norm must be 1, 2 or math\.inf"):
        gradient_norms(nn.Linear(3, 1), real, fake, norm=0)
