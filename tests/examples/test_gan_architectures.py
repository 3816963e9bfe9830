"""gan/architectures.py: what each pair of networks is made of, and that a run trains it."""

import pytest
import torch
from gan.architectures import ARCHITECTURES, RESIDUAL_LAYERS
from gan.models import LATENT, Residual
from torch import nn

NORMALISED = {"baseline", "tanh", "residual"}


def pair(name, size=8, channels=1, width=4):
    torch.manual_seed(0)
    return ARCHITECTURES[name].networks((channels, size, size), width)


def layers(network, kind):
    return [layer for layer in network.modules() if isinstance(layer, kind)]


def features(generator):
    """Of every layer with weights but the last, those that go on from it to each pixel."""
    convolutions = layers(generator, nn.ConvTranspose2d)
    return [layer.in_channels for layer in convolutions]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 1), (32, 3)])
def test_a_pair_makes_images_and_scores(name, size, channels):
    critic, generator = pair(name, size, channels)
    images = generator(torch.randn(3, LATENT))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert not torch.equal(images[0], images[1])
    assert critic(images).shape == (3, 1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_normalisation_is_where_it_is_said_to_be(name):
    critic, generator = pair(name)
    assert not layers(critic, nn.modules.batchnorm._NormBase)
    assert bool(layers(generator, nn.modules.batchnorm._NormBase)) == (name in NORMALISED)


def test_filters_are_doubled_in_the_baseline_and_constant_in_the_other():
    _, doubled = pair("plain", size=16)
    _, constant = pair("constant", size=16)
    assert features(doubled) == [32, 16, 8]
    assert features(constant) == [8, 8, 8]


def test_the_mlp_has_four_hidden_layers_and_no_convolution():
    _, generator = pair("mlp", width=4)
    weights = [module for module in generator.modules() if list(module.parameters(recurse=False))]
    assert all(isinstance(module, nn.Linear) for module in weights)
    assert [module.out_features for module in weights] == [32, 32, 32, 32, 8 * 8]
    assert len(layers(generator, nn.ReLU)) == 4


def test_tanh_takes_the_place_of_every_relu():
    for network, plain in zip(pair("tanh"), pair("baseline"), strict=True):
        rectifiers = layers(plain, (nn.ReLU, nn.LeakyReLU))
        assert rectifiers
        assert not layers(network, (nn.ReLU, nn.LeakyReLU))
        assert len(layers(network, nn.Tanh)) == len(rectifiers) + len(layers(plain, nn.Tanh))
        shapes = [[p.shape for p in each.parameters()] for each in (network, plain)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_the_residual_pair_is_deep_on_both_sides(size):
    for network in pair("residual", size):
        blocks = layers(network, Residual)
        assert sum(len(layers(block, nn.Conv2d)) for block in blocks) >= RESIDUAL_LAYERS >= 12
