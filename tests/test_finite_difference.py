"""double_backward="finite_difference": the exact penalty, its gradient from first-order passes."""

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import spectral_norm

from wgan_fast import (
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)

from .comparing import EXACT, assert_close, assert_same_gradients, gradients_of
from .critics import NAMED, mlp

by_differences = {"double_backward": "finite_difference"}

#: Every penalty as a function of critic, real, fake and the shared keywords.
PENALTIES = {
    "wgan_gp": fast_gradient_penalty,
    "wgan_lp": functools.partial(fast_gradient_penalty, one_sided=True),
    "zero_centred": functools.partial(fast_gradient_penalty, target=0.0),
    "banach_1": functools.partial(fast_gradient_penalty, norm=1),
    "banach_inf": functools.partial(fast_gradient_penalty, norm=math.inf),
    "wgan_div": wgan_div_penalty,
    "max": max_gradient_penalty,
    "dragan": lambda critic, real, fake, **shared: dragan_penalty(critic, real, **shared),
    "r1": lambda critic, real, fake, **shared: r1_penalty(critic, real, **shared),
    "r2": lambda critic, real, fake, **shared: r2_penalty(critic, fake, **shared),
}
every_penalty = pytest.mark.parametrize("penalty_of", PENALTIES.values(), ids=PENALTIES)

#: Without kinks: there the difference is as close as its step allows.
SMOOTH = [
    "numbers", "mlp_tanh", "mlp_silu", "mlp_softplus", "dcgan_smooth", "lstm", "embedding",
]  # fmt: skip


def both(case, penalty_of=fast_gradient_penalty, step=None, **shared):
    """``(penalty, norms, gradients)`` by differences, and with the exact double backward."""
    results = []
    for choice in [{**by_differences, "finite_difference_step": step}, {}]:
        torch.manual_seed(1)
        module, critic = case.make()
        penalty, norms = penalty_of(
            critic, *case.samples(), return_norms=True, **case.arguments(), **shared, **choice
        )
        results.append((penalty, norms, gradients_of(penalty, module)))
    return results


def as_zeros(gradients, like):
    """None where the other has none: a difference also reaches what only shifts the scores."""
    return [
        None if b is None and (a is None or not a.any()) else a
        for a, b in zip(gradients, like, strict=True)
    ]


def compare(case, rtol, **given):
    (ours, norms, our_gradients), (exact, exact_norms, exact_gradients) = both(case, **given)
    assert_close(ours, exact)
    assert_close(norms, exact_norms)
    assert_same_gradients(as_zeros(our_gradients, exact_gradients), exact_gradients, rtol)


@every_penalty
@pytest.mark.parametrize("name", ["mlp_silu", "dcgan_smooth"])
def test_every_penalty(penalty_of, name):
    compare(NAMED[name], 1e-6, penalty_of=penalty_of)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_every_reduction(name, reduction, chunk_size):
    compare(NAMED[name], 1e-6, reduction=reduction, chunk_size=chunk_size)


class Quadratic(nn.Module):
    """The third derivative is zero, and with it the error of a central difference."""

    def __init__(self):
        super().__init__()
        self.form = nn.Parameter(torch.randn(5, 5, dtype=torch.float64))
        self.slope = nn.Parameter(torch.randn(5, dtype=torch.float64))

    def forward(self, x):
        return ((x @ self.form) * x).sum(1) + x @ self.slope


@every_penalty
def test_exact_for_a_quadratic_critic_at_any_step(penalty_of):
    critic = Quadratic()
    real, fake = torch.randn(2, 6, 5, dtype=torch.float64)
    given = {"finite_difference_step": 0.5}
    torch.manual_seed(1)
    ours = gradients_of(penalty_of(critic, real, fake, **by_differences, **given), critic)
    torch.manual_seed(1)
    assert_same_gradients(ours, gradients_of(penalty_of(critic, real, fake), critic))


def test_exact_for_a_piecewise_linear_critic_away_from_its_kinks():
    critic = mlp(nn.ReLU, width=32).double()
    real, fake = torch.randn(2, 200, 5, dtype=torch.float64)
    step = 1e-3
    inside = far_from_kinks(critic, real, reach=2 * step * real.norm(dim=1).clamp_min(1))
    assert 20 < inside.sum() < 180
    for samples, alike in [(real[inside], True), (real, False)]:
        results = [
            gradients_of(r1_penalty(critic, samples, **choice), critic)[:4:2]
            for choice in ({**by_differences, "finite_difference_step": step}, {})
        ]
        largest = max((a - b).abs().max() / b.abs().max() for a, b in zip(*results, strict=True))
        assert (largest < EXACT / step) == alike


def far_from_kinks(critic, x, reach):
    """Samples whose units keep their sign within ``reach``, a bound from the layers' norms."""
    far = torch.ones(len(x), dtype=torch.bool)
    slope = torch.ones(())
    for layer, _ in [(critic[0], critic[1]), (critic[2], critic[3])]:
        x = layer(x)
        slope = slope * layer.weight.norm(dim=1) if slope.dim() == 0 else (
            layer.weight.norm(dim=1) * torch.linalg.matrix_norm(critic[0].weight, 2)
        )  # fmt: skip
        far &= (x.abs() > reach[:, None] * slope).all(1)
        x = torch.relu(x)
    return far


def test_error_falls_with_the_square_of_the_step():
    case = NAMED["mlp_tanh"]
    errors = []
    for step in [2e-2, 1e-2, 5e-3]:
        (_, _, ours), (_, _, exact) = both(case, step=step)
        errors.append(
            max((a - b).norm() for a, b in zip(ours, exact, strict=True) if b is not None)
        )
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("name", ["mlp_tanh", "mlp_silu", "dcgan_smooth", "lstm"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_default_step_in_single_precision(name, scale):
    """Samples of any size, with a critic to match: within a thousandth of the exact gradient."""
    case = NAMED[name]
    results = []
    for dtype, choice in [(torch.float32, by_differences), (torch.float64, {})]:
        module, critic = case.make(dtype)
        real, _ = (x * scale for x in case.samples(dtype=torch.float32))
        shrink = max(scale, 1)
        penalty = r1_penalty(lambda x, c=critic, s=shrink: s * c(x / s), real.to(dtype), **choice)
        results.append(torch.cat([g.flatten().double() for g in gradients_of(penalty, module)
                                  if g is not None]))  # fmt: skip
    ours, exact = results
    if ours.shape != exact.shape:  # the last bias: zero, or not reached
        ours = ours[: len(exact)]
    assert (ours - exact).norm() < 1e-3 * exact.norm()


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


def test_no_create_graph_anywhere(monkeypatch):
    grad = torch.autograd.grad

    def first_order(*args, create_graph=False, **kwargs):
        assert not create_graph
        return grad(*args, create_graph=create_graph, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", first_order)
    critic = mlp(nn.SiLU)
    real, fake = torch.randn(2, 4, 5)
    for chunk_size in [None, 3]:
        given = {**by_differences, "chunk_size": chunk_size}
        fast_gradient_penalty(critic, real, fake, **given).backward()
    with pytest.raises(AssertionError):
        fast_gradient_penalty(critic, real, fake)


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
    ours = gradients_of(r1_penalty(critic, real, **by_differences), critic)
    exact = r1_penalty(critic, real, critic_args=(SDPBackend.MATH,))
    exact_gradients = gradients_of(exact, critic)
    assert_same_gradients(as_zeros(ours, exact_gradients), exact_gradients, rtol=1e-6)


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
def test_compiled_critic_trains(chunk_size, monkeypatch):
    """As the same critic does with the exact double backward, which a compiled one has not."""
    torch._dynamo.reset()
    if chunk_size is not None:  # a slice's graph is kept until its last gradient is known
        monkeypatch.setattr(torch._functorch.config, "donated_buffer", False)
    critic = mlp(nn.SiLU, size=2, width=32)
    expected = trained(twin := copy.deepcopy(critic), twin)
    compiled = torch.compile(critic, backend="aot_eager")
    with pytest.raises(RuntimeError, match="double backward"):
        trained(critic, compiled)
    history = trained(critic, compiled, chunk_size=chunk_size, **by_differences)
    assert history == pytest.approx(expected, rel=1e-2)
    assert history[-1] < 0.3 * history[0]


def test_no_grad_needs_one_pass():
    calls = []
    critic = mlp(nn.SiLU)
    critic.register_forward_hook(lambda *_: calls.append(1))
    real = torch.randn(4, 5)
    with torch.no_grad():
        without = r1_penalty(critic, real, **by_differences)
    assert len(calls) == 1
    with_graph = r1_penalty(critic, real, **by_differences)
    assert len(calls) == 4
    assert torch.equal(without, with_graph)
    assert with_graph.requires_grad
    assert not without.requires_grad


def test_frozen_critic_has_no_graph():
    critic = mlp(nn.SiLU).requires_grad_(False)
    assert not r1_penalty(critic, torch.randn(4, 5), **by_differences).requires_grad


def test_a_second_derivative_is_refused():
    critic = mlp(nn.SiLU)
    penalty = r1_penalty(critic, torch.randn(4, 5), **by_differences)
    (first,) = torch.autograd.grad(penalty, critic[0].weight, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated only once"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_finite_and_roughly_right(dtype):
    critic = mlp(nn.SiLU, width=64)
    real = torch.randn(32, 5)
    exact = gradients_of(r1_penalty(critic, real), critic)[:-1]
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = gradients_of(r1_penalty(critic, real, **by_differences), critic)[:-1]
    low = critic.to(dtype)
    ours = gradients_of(r1_penalty(low, real.to(dtype), **by_differences), low)[:-1]
    for found in [under_autocast, ours]:
        for a, b in zip(found, exact, strict=True):
            assert F.cosine_similarity(a.flatten().float(), b.flatten(), dim=0) > 0.9


def test_nan_comes_through():
    critic = mlp(nn.SiLU)
    real = torch.randn(4, 5)
    real[1, 2] = torch.nan
    penalty = r1_penalty(critic, real, **by_differences)
    penalty.backward()
    assert penalty.isnan()
    assert critic[0].weight.grad.isnan().any()


def test_zero_gradient_costs_but_does_not_push():
    weight = torch.zeros(3, requires_grad=True)
    real, fake = torch.randn(2, 4, 3)
    penalty = fast_gradient_penalty(lambda x: x @ weight, real, fake, **by_differences)
    penalty.backward()
    assert penalty.item() == 10
    assert torch.equal(weight.grad, torch.zeros(3))


def test_says_what_is_wrong():
    critic, real = mlp(nn.SiLU), torch.randn(4, 5)
    with pytest.raises(ValueError, match="double_backward must be one of 'exact', 'finite_diff"):
        r1_penalty(critic, real, double_backward="numerical")
    for step, error in [(0.0, ValueError), (-1.0, ValueError), ("small", TypeError)]:
        with pytest.raises(error, match="finite_difference_step must be"):
            r1_penalty(critic, real, finite_difference_step=step, **by_differences)
    with pytest.raises(ValueError, match="finite_difference_step must be None unless"):
        r1_penalty(critic, real, finite_difference_step=0.1)
