"""The JAX contestant computes the same scores as the module it was translated from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.contestants import UnavailableError
from benchmarks.problems import critics, stylegan

jax = pytest.importorskip("jax", reason="jax is not installed; pip install jax")

CASES = {
    "dcgan": (lambda: critics.dcgan(16, 8), (3, 16, 16)),
    "layer_norm": (lambda: critics.dcgan(16, 8, norm=critics.layer_norm), (3, 16, 16)),
    "instance_norm": (lambda: critics.dcgan(16, 8, norm=critics.instance_norm), (3, 16, 16)),
    "group_norm": (lambda: critics.dcgan(16, 8, norm=critics.group_norm), (3, 16, 16)),
    "smooth": (lambda: critics.mlp(5, 8, 2, nn.SiLU), (5,)),
    "resnet": (lambda: critics.resnet(8), (3, 32, 32)),
    "wavegan": (lambda: critics.wavegan(1), (1, 16384)),
    "tabular": (lambda: critics.tabular(10, 3), (10, 3)),
    "projection": (lambda: critics.Projection(3, 8), (3, 32, 32)),
    "r3gan": (lambda: stylegan.r3gan(8, 16, blocks=1), (3, 8, 8)),
    "stylegan2": (lambda: stylegan.stylegan2(8, 4), (3, 8, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_module(name):
    from benchmarks.contestants.translate import translate

    jax.config.update("jax_enable_x64", True)
    make, shape = CASES[name]
    module = make().double()
    for parameter in module.parameters():  # normalisation layers begin as ones and zeros
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, *shape, dtype=torch.float64)
    args = (torch.tensor([2, 0, 1]),) if name == "projection" else ()
    weights = {key: jax.numpy.asarray(p.detach().numpy()) for key, p in module.named_parameters()}
    arrays = [jax.numpy.asarray(tensor.numpy()) for tensor in (x, *args)]
    scores = jax.jit(translate(module))(weights, *arrays).tolist()
    expected = module(x, *args).detach()
    assert (torch.tensor(scores, dtype=torch.float64) - expected).norm() < 1e-12 * expected.norm()


def test_what_is_not_translated_is_unavailable():
    from benchmarks.contestants.translate import translate

    with pytest.raises(UnavailableError, match="LSTM is not translated"):
        translate(nn.LSTM(2, 2))
