"""value_surface.py and held.py: the share of the distance that a critic reaches."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import value_surface as script
from gan.data import POINT_SETS
from gan.held import ExactCritic, dual, exact_distance, with_noise
from gan.methods import METHODS, Method, critic_step
from gan.models import point_critic
from gan.study import read_rows
from torch import nn
from value_surface import CLIPPING, CLIPPINGS, CONSTANT, EXACT, RISING, SETTINGS, summary

from .test_train import assert_picture

torch.manual_seed(0)
REAL, SHIFT = torch.randn(60, 2), torch.tensor([3.0, 4.0])


def linear_critic(*weight):
    critic = nn.Linear(2, 1)
    critic.weight.data = torch.tensor([weight])
    return critic


def rows(shares, seeds=1):
    """Invented ones; ``shares`` by setting, the same for all sets unless there are three."""
    return [
        {"data": data, "method": setting, "seed": seed, "gain": 1.0, "slope": 1.2}
        | {"median slope": 1.08, "share": shares[setting][i], "exact distance": 0.8, "floor": 0.1}
        for seed in range(seeds)
        for i, data in enumerate(POINT_SETS)
        for setting in (*SETTINGS, EXACT)
    ]


def all_sets(clipping, constant, rising):
    shares = dict.fromkeys(CLIPPINGS, clipping) | {CONSTANT: constant, RISING: rising, EXACT: 0.97}
    return {setting: [share] * 3 for setting, share in shares.items()}


def test_the_quick_run_leaves_a_table_a_picture_and_words(tmp_path, capsys):
    assert script.main(["--quick", "--out", str(tmp_path)]) == 0
    table = read_rows(tmp_path / "value_surface.csv")
    assert [(row["data"], row["method"]) for row in table] == [
        (data, setting) for data in POINT_SETS for setting in (*SETTINGS, EXACT)
    ]
    for row in table:
        gain = row["share"] * row["slope"] * row["exact distance"]
        assert row["gain"] == pytest.approx(gain, rel=1e-4)
        assert 0 < row["floor"] < row["exact distance"]
    assert capsys.readouterr().out.startswith(summary(table) + "\n")
    assert_picture(tmp_path / "value_surface.png", panels=4)


def test_runs_are_reproducible():
    training = script.Training("swissroll", RISING, seed=1, steps=3, n_held_out=50)
    (row, surface), (again, _) = script.measure(training), script.measure(training)
    assert row == again
    assert surface.values.shape == (100, 100)
    other, _ = script.measure(replace(training, seed=2))
    assert other["share"] != row["share"]


def test_a_linear_critic_along_the_shift_reaches_all_of_the_distance():
    fake = REAL - SHIFT  # all moves are the shift: the distance is its length
    assert exact_distance(REAL, fake) == pytest.approx(5, rel=1e-6)
    found = dual(linear_critic(0.3, 0.4), REAL, fake)
    assert found.gain == pytest.approx(0.3 * 3 + 0.4 * 4, rel=1e-5)
    assert found.slope == pytest.approx(0.5, rel=1e-6)
    assert found.share(5) == pytest.approx(1, rel=1e-5)
    across = nn.Sequential(nn.Dropout(), linear_critic(0.7, 0.0))  # drops nothing when looked at
    assert dual(across, REAL, fake).share(5) == pytest.approx(3 / 5, rel=1e-5)
    assert across.training


def test_the_exact_critic_reaches_all_of_its_own_distance_and_most_of_another():
    torch.manual_seed(0)
    real, fake = REAL, with_noise(REAL)
    critic = ExactCritic(real, fake)
    found = dual(critic, real, fake)
    assert found.share(exact_distance(real, fake)) == pytest.approx(1, abs=1e-6)
    assert found.slope == pytest.approx(1, abs=1e-6)
    assert found.median_slope == pytest.approx(1, abs=1e-6)
    others = torch.randn(60, 2)
    fakes = with_noise(others)
    assert 0.2 < dual(critic, others, fakes).share(exact_distance(others, fakes)) < 0.99


def test_the_slope_is_found_at_the_samples_and_between_them():
    """That of |x|² / 2 is |x|; a step has none at the samples, only a difference quotient."""

    class Square(nn.Module):
        def forward(self, x):
            return (x**2).sum(1, keepdim=True) / 2

    near, far = torch.tensor([[0.0, 0.1]]), torch.tensor([[3.0, 4.0]])
    for real, fake in ((near, far), (far, near)):
        assert dual(Square(), real, fake).slope == pytest.approx(5, rel=1e-6)

    class Step(nn.Module):
        def forward(self, x):
            return (x[:, :1] > 2.999).to(x) + 0 * x[:, :1]

    found = dual(Step(), far, near)
    assert found.gain == 1
    assert found.slope == pytest.approx(1 / math.hypot(3, 3.9), rel=1e-6)
    assert dual(Step(), near, far).slope == found.slope


@pytest.mark.parametrize("seed", range(5))
def test_no_critic_has_more_than_the_distance(seed):
    """Not even one that has learnt the very samples: strictly, by the quotients in its slope."""
    torch.manual_seed(seed)
    real, fake = torch.randn(40, 2), torch.randn(40, 2) + 1
    critic = point_critic(32)
    method = METHODS["wgan-gp"]
    optimizer = method.optimizer(critic.parameters(), 1e-2)
    for _ in range(100):
        critic_step(critic, optimizer, method, real, fake)
    share = dual(critic, real, fake).share(exact_distance(real, fake))
    assert 0.2 < share <= 1


def test_a_step_descends_the_loss_of_the_method():
    """By hand with SGD, for a linear critic: D(x) = w x; its penalty is λ (|w| - 1)²."""
    fake = REAL - SHIFT
    loss = -SHIFT  # by w: mean fake - mean real
    penalty = 10 * 2 * (5 - 1) * torch.tensor([3.0, 4.0]) / 5
    for method, gradient in (
        (Method("plain"), loss),
        (METHODS["wgan-gp"], loss + penalty),
    ):
        for max_norm, norm in ((None, gradient.norm()), (0.5, 0.5)):
            critic = linear_critic(3.0, 4.0)
            critic.weight.grad = torch.ones(1, 2)  # left over, and not to be added
            optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
            critic_step(critic, optimizer, method, REAL, fake, max_norm)
            expected = torch.tensor([3.0, 4.0]) - 0.1 * norm * gradient / gradient.norm()
            # A tenth of a float32 gradient below 128, which has been rounded a few times.
            atol = 0.1 * 4 * 2**-17
            torch.testing.assert_close(critic.weight.data[0], expected, rtol=0, atol=atol)


def test_weights_are_clipped_where_the_method_says_so():
    critic = linear_critic(3.0, -4.0)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    critic_step(critic, optimizer, METHODS["wgan"], REAL, REAL - SHIFT)
    torch.testing.assert_close(critic.weight.data, torch.tensor([[0.01, -0.01]]))


def test_training_takes_the_learning_rate_down_to_0(monkeypatch):
    rates, penalties = [], []

    def critic_step(critic, optimizer, method, real, fake, *, weight):
        rates.append(optimizer.param_groups[0]["lr"])
        penalties.append(weight)
        assert ((fake - real).std() - 1).abs() < 0.2  # the real samples are one point
        optimizer.step()

    monkeypatch.setattr(script, "critic_step", critic_step)
    samples = torch.full((9, 2), 7.0)
    for first_weight in (0.5, 10.0):
        script.train(linear_critic(0.0, 0.0), METHODS["wgan-gp"], samples, 50, first_weight)
        first_rate = script.HURRY * 1e-4
        assert rates == pytest.approx([first_rate * (1 - step / 50) for step in range(50)])
        rates.clear()
    rising, constant = penalties[:50], penalties[50:]
    factors = [after / before for before, after in pairwise(rising)]
    assert rising[0] == pytest.approx(0.5)
    assert rising[-1] == pytest.approx(10)
    assert factors == pytest.approx([20 ** (1 / 49)] * 49)
    assert constant == pytest.approx([10] * 50)


def test_one_penalty_rises_and_clipping_has_none(monkeypatch):
    first = {}

    def train(critic, method, samples, steps, first_weight):
        first[len(first)] = (first_weight, method.weight)

    monkeypatch.setattr(script, "train", train)
    for setting in SETTINGS:
        script.trained(script.Training("swissroll", setting, 0, 5, 2), REAL)
    assert list(first.values()) == [(0, 0)] * 3 + [(10, 10), (0.1, 100)]
    assert script.weights(0, 0, 3) == [0, 0, 0]


def test_the_grid_is_as_it_is_drawn():
    values = script.values_on_grid(linear_critic(1.0, 10.0))
    bias = values.mean()
    first, last = script.TICKS[0].item(), script.TICKS[-1].item()
    assert values[0, -1] - bias == pytest.approx(last + 10 * first, abs=1e-4)
    assert values[-1, 0] - bias == pytest.approx(first + 10 * last, abs=1e-4)


def test_bounds_and_rates_go_together():
    for setting in CLIPPINGS:
        method = SETTINGS[setting]
        assert setting == f"clipping, c = {method.clip:g}"
        assert method.learning_rate / method.clip == pytest.approx(5e-3)


def test_the_words_follow_the_numbers():
    paper, opposite = (summary(rows(all_sets(*s))) for s in ((0.4, 0.8, 0.9), (0.8, 0.4, 0.3)))
    assert paper.startswith(
        "Critics with the penalty reach a larger share of the distance than any"
    )
    assert "80, 80 and 80 % with λ = 10 and 90, 90 and 90 % with λ rising" in paper
    assert "against 40, 40 and 40 % with c = 0.01" in paper
    assert "The exact critic of as many other samples reaches 97, 97 and 97 %" in paper
    assert paper.endswith("rising λ would reach 100, 100 and 100 %.")  # 0.9 * 1.2 / 1.08
    assert opposite.startswith("No critic with the penalty reaches a larger share of the distance")
    assert "40, 40 and 40 % with λ = 10 and 30, 30 and 30 % with" in opposite
    assert "(one seed)" in paper
    assert "(median of 3 seeds)" in summary(rows(all_sets(0.4, 0.8, 0.9), seeds=3))


def test_each_is_judged_by_its_case_against_it():
    """Clipping by the best of its bounds, the penalties by the worse."""
    shares = all_sets(0.4, 0.5, 0.9) | {CLIPPINGS[-1]: [0.3, 0.6, 0.7]}
    words = summary(rows(shares))
    assert "on 1 of 3 sets" in words
    assert "40, 40 and 40 % with c = 0.01 and 40, 60 and 70 % with the best of 3 bounds" in words
    assert "on 1 of 3 sets" in summary(rows(shares | {CONSTANT: [0.9] * 3, RISING: [0.5] * 3}))
    assert CLIPPINGS[0] == CLIPPING
