"""Finite differences for critics with dropout, states, upstream graphs, and without a double
backward."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import spectral_norm

from tests.comparing import assert_same_gradients, gradients_of
from tests.critics import NAMED, mlp
from wgan_fast import fast_gradient_penalty, r1_penalty

by_differences = {"double_backward": "finite_difference"}


def test_gradients_of_what_the_arguments_were_made_from():
    case = NAMED["conditional_labels_in_args"]
    given = torch.randn(case.batch, 5, dtype=torch.float64)
    upstream = nn.Linear(5, 5).double()

    class Critic(nn.Module):
        def forward(self, x, condition):
            return torch.tanh(x * condition).sum(1)

    real, _ = case.samples()
    for chunk_size in [None, 2]:
        results = []
        for choice in [by_differences, {}]:
            penalty = r1_penalty(
                Critic(), real, critic_args=(upstream(given),), chunk_size=chunk_size, **choice
            )
            results.append(gradients_of(penalty, upstream))
        assert_same_gradients(*results, rtol=1e-6)


def test_the_same_units_are_dropped_in_every_pass():
    critic = nn.Sequential(
        nn.Linear(5, 64), nn.Tanh(), nn.Dropout(0.5), nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.5),
        nn.Linear(64, 1),
    ).double()  # fmt: skip
    real = torch.randn(6, 5, dtype=torch.float64)
    results, states = [], []
    for choice in [by_differences, {}]:
        torch.manual_seed(2)
        results.append(gradients_of(r1_penalty(critic, real, **choice), critic)[:-1])
        states.append(torch.get_rng_state())
    assert_same_gradients(*results, rtol=1e-6)
    assert torch.equal(*states)


def test_the_same_estimates_are_used_in_every_pass():
    """Spectral normalisation goes a step further at every call in training mode."""
    results, buffers = [], []
    for choice in [by_differences, {}]:
        torch.manual_seed(3)
        critic = nn.Sequential(
            spectral_norm(nn.Linear(5, 16)), nn.Tanh(), spectral_norm(nn.Linear(16, 1))
        ).double()
        real = torch.randn(6, 5, dtype=torch.float64)
        loss = -critic(real).mean() + r1_penalty(critic, real, **choice)
        results.append(gradients_of(loss, critic))
        buffers.append(list(critic.buffers()))
    assert_same_gradients(*results, rtol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(*buffers, strict=True))


def test_no_create_graph_anywhere():
    made = []

    class Witness(torch.autograd.Function):
        """The identity, which notes whether its backward pass makes a graph."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            made.append(torch.is_grad_enabled())
            return grad

    net = mlp(nn.SiLU)
    real, fake = torch.randn(2, 4, 5)
    for choice, graph in [(by_differences, False), ({}, True)]:
        for shared in [{}, {"chunk_size": 3}, {"chunk_size": 3, "reduction": "none"}]:
            made.clear()
            penalty = fast_gradient_penalty(
                lambda x: net(Witness.apply(x)), real, fake, **choice, **shared
            )
            penalty.sum().backward()
            assert any(made) == graph
            assert made


class OnceDifferentiable(torch.autograd.Function):
    """A custom kernel without a double backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (1 - torch.tanh(x) ** 2)


class CustomTanh(nn.Module):
    def forward(self, x):
        return OnceDifferentiable.apply(x)


def test_custom_kernel_without_a_double_backward():
    case = NAMED["mlp_tanh"]
    real, fake = case.samples()
    results = []
    for activation, choice in [(CustomTanh, by_differences), (nn.Tanh, {})]:
        torch.manual_seed(4)
        critic = mlp(activation).double()
        penalty = fast_gradient_penalty(critic, real, fake, epsilon=case.epsilon(), **choice)
        results.append(gradients_of(penalty, critic)[:-1])
    assert_same_gradients(*results, rtol=1e-6)
    exact = fast_gradient_penalty(mlp(CustomTanh).double(), real, fake)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        exact.backward()


class FlashAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.score = nn.Linear(4, 24), nn.Linear(8, 1)

    def forward(self, x, backend=SDPBackend.FLASH_ATTENTION):
        q, k, v = self.enter(x).unsqueeze(1).chunk(3, dim=-1)
        with sdpa_kernel(backend):
            return self.score(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_flash_attention():
    critic = FlashAttention().double()
    real = torch.randn(4, 6, 4, dtype=torch.float64)
    ours = r1_penalty(critic, real, **by_differences)
    exact = r1_penalty(critic, real, critic_args=(SDPBackend.MATH,))
    # all but the last bias, which only shifts the scores
    assert_same_gradients(
        gradients_of(ours, critic)[:-1], gradients_of(exact, critic)[:-1], rtol=1e-6
    )


def trained(critic, called, **shared):
    """The mean distance of the norms from 1, step by step, under the penalty alone."""
    torch.manual_seed(6)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.0, 0.9))
    history = []
    for _ in range(30):
        real, fake = torch.randn(2, 64, 2)
        penalty, norms = fast_gradient_penalty(called, real, fake, return_norms=True, **shared)
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        history.append((norms - 1).abs().mean().item())
    return history


@pytest.mark.parametrize("chunk_size", [None, 40])
def test_compiled_critic_trains(chunk_size):
    """As the same critic does with the exact double backward, which a compiled one has not."""
    torch._dynamo.reset()
    critic = mlp(nn.SiLU, size=2, width=32)
    expected = trained(twin := copy.deepcopy(critic), twin)
    compiled = torch.compile(critic, backend="aot_eager")
    with pytest.raises(RuntimeError, match="double backward"):
        trained(critic, compiled)
    # A slice's graph is kept until its last gradient is known.
    with torch._functorch.config.patch(donated_buffer=chunk_size is None):
        history = trained(critic, compiled, chunk_size=chunk_size, **by_differences)
    assert history == pytest.approx(expected, rel=1e-2)
    assert history[-1] < 0.3 * history[0]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which PyTorch's compiler looks at
@pytest.mark.parametrize("shared", [by_differences, {"chunk_size": 3, "reduction": "none"}])
def test_inside_a_compiled_step(shared):
    """Where the penalty cannot be traced, it is computed as it is without compiling."""
    torch._dynamo.reset()
    critic, real = mlp(nn.SiLU), torch.randn(8, 5)

    def step(x):
        return r1_penalty(critic, x + 1, **shared).sum() * 2

    compiled = torch.compile(step, backend="aot_eager")(real)
    assert_same_gradients(gradients_of(compiled, critic), gradients_of(step(real), critic), 1e-5)
