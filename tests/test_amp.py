"""Mixed precision: docs/amp.md, and what it says."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.textbook import textbook_gradient_penalty
from wgan_fast import (
    approximate_r1,
    critic_loss,
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
    wgan_div_penalty,
)

PAGE = (Path(__file__).parents[1] / "docs/amp.md").read_text()
HALVES = [torch.float16, torch.bfloat16]


def make_critic(kind="mlp"):
    torch.manual_seed(0)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(48, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    return nn.Sequential(
        nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(2, 16), nn.SiLU(),
        nn.Flatten(), nn.Linear(64, 1),
    )  # fmt: skip


def samples():
    torch.manual_seed(1)
    return *torch.randn(2, 16, 48), torch.rand(16)


def test_the_examples_run():
    names = {}
    first, second = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(first, names)
    before = [parameter.detach().clone() for parameter in names["critic"].parameters()]
    assert names["loss"].isfinite()
    exec(first.partition("for step")[1] + first.partition("for step")[2], names)
    assert not all(map(torch.equal, before, names["critic"].parameters()))
    exec(second, names)
    expected = fast_gradient_penalty(
        names["critic"], names["real"], names["fake"], return_norms=True
    )[1]
    assert (names["norms"] / expected - 1).abs().max() < 0.3, "they are at other interpolates"


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_penalty_of_autocast_is_the_textbooks_up_to_rounding(kind, dtype):
    real, fake, epsilon = samples()
    critic, exact = make_critic(kind), make_critic(kind).double()
    expected, norms = textbook_gradient_penalty(
        exact, real.double(), fake.double(), epsilon=epsilon.double(), return_norms=True
    )
    with torch.autocast("cpu", dtype=dtype):
        ours, our_norms = fast_gradient_penalty(
            critic, real, fake, epsilon=epsilon, return_norms=True
        )
    assert ours.dtype == our_norms.dtype == torch.float32
    rounding = torch.finfo(dtype).eps
    assert (our_norms / norms - 1).abs().max() < 4 * rounding
    theirs = torch.autograd.grad(expected, exact.parameters(), allow_unused=True)
    found = torch.autograd.grad(ours, critic.parameters(), allow_unused=True)
    for mine, their in zip(found, theirs, strict=True):
        if mine is not None and their is not None:
            assert mine.dtype == torch.float32
            assert (mine - their).norm() <= 8 * rounding * their.norm()


#: Penalties of a critic and samples with given points.
PENALTIES = {
    "wgan_gp": lambda c, real, fake, eps: fast_gradient_penalty(c, real, fake, epsilon=eps),
    "chunked": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, epsilon=eps, chunk_size=5
    ),
    "differences": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, epsilon=eps, double_backward="finite_difference"
    ),
    "wgan_div": lambda c, real, fake, eps: wgan_div_penalty(c, real, fake, epsilon=eps),
    "max": lambda c, real, fake, eps: max_gradient_penalty(c, real, fake, epsilon=eps),
    "r1": lambda c, real, fake, eps: r1_penalty(c, real),
    "dragan": lambda c, real, fake, eps: dragan_penalty(c, real),
    "approximate_r1": lambda c, real, fake, eps: approximate_r1(c, real, sigma=0.5),
    "critic_loss": lambda c, real, fake, eps: critic_loss(
        c, real, fake, loss="relativistic", gp=1.0, r1=1.0, r2=1.0, epsilon=eps
    ),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_penalty_under_autocast(penalty, dtype):
    """Near to float32, and of its dtype; gradients are finite."""
    given, critic = samples(), make_critic()
    torch.manual_seed(2)
    expected = penalty(critic, *given)
    torch.manual_seed(2)
    with torch.autocast("cpu", dtype=dtype):
        ours = penalty(critic, *given)
    # Two layers round weights and sums, forward and back, and the penalty is a square.
    rtol = 6 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours.float(), expected, rtol=rtol, atol=0)
    for gradient in torch.autograd.grad(ours, critic.parameters(), allow_unused=True):
        assert gradient is None or bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_norms_of_half_precision_are_float32(dtype):
    """The norm of gradients whose squares do not fit into float16."""
    real = torch.ones(4, 12288, dtype=dtype)
    penalty, norms = r1_penalty(lambda x: (300 * x).sum(1), real, gamma=2.0, return_norms=True)
    assert norms.dtype == penalty.dtype == torch.float32
    torch.testing.assert_close(norms, torch.full((4,), 300 * 12288**0.5))
    torch.testing.assert_close(penalty, torch.tensor(300.0**2 * 12288))


def trained(penalty_and_norms):
    """Steps with a GradScaler: which had norms that are not finite, and which it skipped."""
    critic, (real, fake, _) = make_critic(), samples()
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu")
    infinite, skipped = [], []
    for _ in range(12):
        before = scaler.get_scale()
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            penalty, norms = penalty_and_norms(critic, real, fake, scaler)
            loss = critic(fake).mean() - critic(real).mean() + penalty
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        infinite.append(not norms.isfinite().all())
        skipped.append(scaler.get_scale() < before)
    assert all(parameter.isfinite().all() for parameter in critic.parameters())
    return infinite, skipped


def test_the_scaler_finds_its_scale_and_norms_are_finite_meanwhile():
    infinite, skipped = trained(
        lambda critic, real, fake, _: fast_gradient_penalty(critic, real, fake, return_norms=True)
    )
    assert not any(infinite)
    assert skipped[0]
    assert not any(skipped[-6:])


def test_pytorchs_recipe_overflows_at_the_first_scale():
    def recipe(critic, real, fake, scaler):
        """As in PyTorch's notes on mixed precision, of the scores."""
        x = (0.5 * real + 0.5 * fake).requires_grad_()
        scores = critic(x)
        (scaled,) = torch.autograd.grad(
            scaler.scale(scores), x, torch.ones_like(scores), create_graph=True
        )
        norms = (scaled / scaler.get_scale()).flatten(1).norm(dim=1)
        return 10 * ((norms - 1) ** 2).mean(), norms.detach()

    assert trained(recipe)[0][0]


class Small(nn.Module):
    """Scores whose gradient is too small for float16, and none of whose layers is."""

    def __init__(self):
        super().__init__()
        self.layers = make_critic()

    def forward(self, x):
        return self.layers(x).float() * 2.0**-26


def too_small():
    return pytest.warns(UserWarning, match=r"too small for float16: for 16 of the 16 samples")


def test_gradients_that_float16_makes_zero_are_told_of_once():
    critic, (real, fake, epsilon) = Small(), samples()
    with torch.autocast("cpu", dtype=torch.float16):
        with too_small():
            _, norms = fast_gradient_penalty(critic, real, fake, epsilon=epsilon, return_norms=True)
        assert not norms.any()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fast_gradient_penalty(critic, real, fake, epsilon=epsilon)
        with too_small():
            critic_loss(Small(), real, fake, r1=1.0)


def test_gradients_that_are_zero_by_themselves_are_not_told_of():
    class Dead(Small):
        def forward(self, x):
            return self.layers(x.relu())

    real, fake, epsilon = samples()
    cases = [(Small(), torch.bfloat16, real), (Dead(), torch.float16, -real.abs())]
    for critic, dtype, points in cases:
        with warnings.catch_warnings(), torch.autocast("cpu", dtype=dtype):
            warnings.simplefilter("error")
            fast_gradient_penalty(critic, points, fake, epsilon=epsilon)
            r1_penalty(critic, points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast_gradient_penalty(Small(), real, fake, epsilon=epsilon)


#: Penalties of scores that are S times as large: the same.
LARGER = {
    "wgan_gp": lambda c, real, fake, eps, s: fast_gradient_penalty(
        c, real, fake, epsilon=eps, target=s, lambda_gp=10.0 / s**2
    ),
    "r1": lambda c, real, fake, eps, s: r1_penalty(c, real, gamma=10.0 / s**2),
    "wgan_div": lambda c, real, fake, eps, s: wgan_div_penalty(
        c, real, fake, epsilon=eps, k=2.0 / s**6, p=6.0
    ),
}


@pytest.mark.parametrize("penalty", LARGER.values(), ids=LARGER)
def test_the_penalty_of_larger_scores_is_the_same_to_the_last_bit(penalty):
    critic, given, factor = make_critic(), samples(), 2.0**14
    results = []
    for scale in (1.0, factor):
        value = penalty(lambda x, s=scale: s * critic(x).float(), *given, scale)
        gradients = torch.autograd.grad(value, critic.parameters(), allow_unused=True)
        results.append([value, *(gradient for gradient in gradients if gradient is not None)])
    assert all(map(torch.equal, *results))


def test_larger_scores_save_gradients_that_are_too_small():
    """With a loss that is scaled, as the gradients of the parameters are small, too."""
    (real, fake, epsilon), exact = samples(), make_critic().double()
    expected, norms = textbook_gradient_penalty(
        lambda x: exact(x) * 2.0**-26, real.double(), fake.double(), epsilon=epsilon.double(),
        return_norms=True,
    )  # fmt: skip
    theirs = torch.autograd.grad(expected, exact.parameters(), allow_unused=True)
    worst = {}
    for factor in (1.0, 2.0**14):
        critic, scale_of_loss = Small(), 2.0**16
        with torch.autocast("cpu", dtype=torch.float16), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours, our_norms = fast_gradient_penalty(
                lambda x, critic=critic, factor=factor: factor * critic(x), real, fake,
                epsilon=epsilon, target=factor, lambda_gp=10.0 / factor**2, module=critic,
                return_norms=True,
            )  # fmt: skip
        found = torch.autograd.grad(scale_of_loss * ours, critic.parameters(), allow_unused=True)
        errors = [(our_norms / factor / norms - 1).abs().max().item()]
        for mine, their in zip(found, theirs, strict=True):
            if mine is not None and their is not None:
                errors.append(((mine / scale_of_loss - their).norm() / their.norm()).item())
        worst[factor] = max(errors)
    assert worst[1.0] == 1.0, "nothing is left of them"
    assert worst[2.0**14] < 8 * torch.finfo(torch.float16).eps
