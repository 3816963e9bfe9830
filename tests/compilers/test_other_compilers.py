"""Compiled autograd, ``torch.export``, and the transforms of ``torch.func``."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.compiled_autograd
from torch import nn

from tests.compilers.steps import CASES, Batch, assert_same, batch_of, expected, make_critic
from wgan_fast.second_order import prune, without_thresholds

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def perceptron():
    """Without convolutions: PyTorch's compiled autograd cannot differentiate those twice."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)
    ).double()


@pytest.fixture(params=["trusted", "seen for the first time"])
def _trust(request, monkeypatch):
    if request.param != "trusted":
        monkeypatch.setattr(prune, "_trusted", set())


@pytest.mark.usefixtures("_trust")
@pytest.mark.parametrize("compiler", ["recorded", "compiled"])
def test_compiled_autograd(compiler):
    torch._dynamo.reset()
    net, name = perceptron(), "fast_gradient_penalty"
    compile_it = torch.compile(backend="eager") if compiler == "compiled" else lambda graph: graph
    for seed in (1, 2):
        net.zero_grad()
        with without_thresholds():
            loss = CASES[name].ours(net, batch_of(seed))
        with torch._dynamo.compiled_autograd._enable(compile_it):
            loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
    assert_same((loss.detach(), *gradients), expected(name, net, batch_of(2)))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["fast_gradient_penalty", "critic_loss", "path_length_penalty"])
def test_an_exported_penalty_is_refused(name, strict):
    words = r"torch\.export cannot record a penalty"
    if strict and torch.__version__ < "2.13":  # where Dynamo does not tell what it compiles for
        if name == "path_length_penalty":
            pytest.skip("before PyTorch 2.13, Dynamo stops at the requires_grad_() of the latents")
        words = "wgan_fast differentiates the critic twice"
    torch._dynamo.reset()

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.critic = make_critic()

        def forward(self, real, fake, epsilon):
            return CASES[name].ours(self.critic, Batch(real, fake, epsilon))

    with pytest.raises(RuntimeError, match=words):
        torch.export.export(Step(), tuple(batch_of(1)), strict=strict)


@pytest.mark.parametrize("name", ["fast_gradient_penalty", "r1_penalty", "critic_loss"])
def test_transforms_are_refused(name):
    net, batch = make_critic(), batch_of(1)

    def loss(parameters):
        def critic(x):
            return torch.func.functional_call(net, parameters, x)

        return CASES[name].ours(critic, batch)

    with pytest.raises(RuntimeError, match=r"inside a transform of torch\.func .*take torch\.auto"):
        torch.func.grad(loss)(dict(net.named_parameters()))
