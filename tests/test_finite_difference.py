"""double_backward="finite_difference": the exact penalty, its gradient from first-order passes."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.comparing import EXACT, assert_close, assert_same_gradients, gradients_of
from tests.critics import NAMED, mlp
from wgan_fast import (
    FiniteDifference,
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from wgan_fast.ops import REGISTRY

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
    for choice in [{"double_backward": FiniteDifference(step)}, {}]:
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
    with_step = FiniteDifference(step=0.5)
    torch.manual_seed(1)
    ours = gradients_of(penalty_of(critic, real, fake, double_backward=with_step), critic)
    torch.manual_seed(1)
    assert_same_gradients(ours, gradients_of(penalty_of(critic, real, fake), critic))


def test_exact_for_a_piecewise_linear_critic_away_from_its_kinks():
    critic = mlp(nn.ReLU, width=32).double()
    real = torch.randn(200, 5, dtype=torch.float64)
    step = 1e-3
    away = away_from_kinks(critic, real, step * real.norm(dim=1, keepdim=True).clamp_min(1))
    assert 100 < away.sum() < 200
    for samples, alike in [(real[away], True), (real, False)]:
        ours, exact = (
            gradients_of(r1_penalty(critic, samples, **choice), critic)[0]
            for choice in ({"double_backward": FiniteDifference(step)}, {})
        )
        assert ((ours - exact).abs().max() < EXACT / step * exact.abs().max()) == alike


def away_from_kinks(critic, x, reach):
    """Samples from which no unit changes its sign on the way along the gradient, or back."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    move = reach * gradient / gradient.norm(dim=1, keepdim=True)

    def signs(x):
        first = critic[0](x)
        return torch.cat([first > 0, critic[2](first.relu()) > 0], 1)

    same = (signs(x + move) == signs(x)) & (signs(x - move) == signs(x))
    return same.all(1)


def test_kinks_that_move_count_on_average():
    """Half of the samples in [0, 1] have slope 1: moving the kink up by t makes it 1/2 - t.

    The derivative at each sample is zero, and that is what the exact double backward finds.
    """
    kink = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    samples = (torch.arange(1000, dtype=torch.float64)[:, None] + 0.5) / 1000
    for choice, expected in [({"double_backward": FiniteDifference(0.1)}, -1.0), ({}, 0.0)]:
        penalty = r1_penalty(lambda x: (x - kink).relu(), samples, gamma=2.0, **choice)
        assert penalty.item() == pytest.approx(0.5)
        (grad,) = torch.autograd.grad(penalty, kink, materialize_grads=True)
        assert grad.item() == pytest.approx(expected, abs=1e-9)


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
    with pytest.raises(ValueError, match="double_backward must be 'pruned', 'plain', "):
        r1_penalty(critic, real, double_backward="numerical")
    for step, error in [(0.0, ValueError), (-1.0, ValueError), ("small", TypeError)]:
        with pytest.raises(error, match="step must be"):
            FiniteDifference(step)


@pytest.mark.parametrize("backend", ["pytorch", "reference"])
def test_no_kernel_is_called_where_none_was_asked_for(backend, monkeypatch):
    for op in REGISTRY.values():
        monkeypatch.setattr(op, "overload", None)
    critic, (real, fake) = torch.nn.Linear(3, 1), torch.randn(2, 4, 3)
    fast_gradient_penalty(
        critic, real, fake, backend=backend, double_backward="finite_difference"
    ).backward()
