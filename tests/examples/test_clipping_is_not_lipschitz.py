"""clipping_is_not_lipschitz.py: the largest slope that a critic reaches under each constraint."""

import clipping_is_not_lipschitz as script
import numpy as np
import pytest
import torch
from clipping_is_not_lipschitz import (
    CLIPPED_ADAM,
    CLIPPED_SGD,
    CLIPPED_WEIGHTS,
    CONSTRAINTS,
    NOTHING,
    PENALTY,
    SPECTRAL,
    Training,
    summary,
)
from gan.study import read_rows
from torch import nn

from .test_train import assert_picture

HELD = {CLIPPED_WEIGHTS: 0.01, SPECTRAL: 0.5, PENALTY: 1.1}


def rows(slopes, growth):
    """Invented ones: by constraint the slope at the end, and its growth in the second half."""
    return [
        {"constraint": name, "seed": seed, "step": step, "slope": slope}
        | {"gain": slope / 2, "share": 0.5, "exact distance": 1.0}
        for seed in range(2)
        for name in CONSTRAINTS
        for step, slope in ((8, slopes[name] / growth.get(name, 1)), (16, slopes[name]))
    ]


def test_the_quick_run_leaves_a_table_a_picture_and_words(tmp_path, capsys):
    assert script.main(["--quick", "--out", str(tmp_path)]) == 0
    table = read_rows(tmp_path / "clipping_is_not_lipschitz.csv")
    assert [(row["constraint"], row["step"]) for row in table] == [
        (name, step) for name in CONSTRAINTS for step in (1, 2, 4, 8, 16)
    ]
    assert all(row["slope"] > 0 and row["share"] <= 1 for row in table)
    by_name = {row["constraint"]: row["slope"] for row in table}  # the last ones
    assert by_name[CLIPPED_ADAM] < 0.9 * by_name[NOTHING], "no gradient was clipped"
    assert capsys.readouterr().out.startswith(summary(table) + "\n")
    assert_picture(tmp_path / "clipping_is_not_lipschitz.png", panels=2)


def test_runs_are_reproducible():
    training = Training(SPECTRAL, seed=1, steps=2)
    (first, shown), (again, _) = script.measure(training), script.measure(training)
    assert first == again
    assert [row["step"] for row in first] == [1, 2]
    assert shown.values[np.abs(script.LINE_X.numpy()).argmin()] == 0


def test_every_constraint_starts_from_the_same_critic():
    weights = []
    for constraint in CONSTRAINTS.values():
        torch.manual_seed(3)
        critic = script.critic_under(constraint)
        weights.append(next(p for p in critic.parameters() if p.shape == (script.WIDTH, 2)))
    assert all(torch.equal(weight, weights[0]) for weight in weights)


def test_clipped_gradients_limit_the_step_of_sgd_and_nothing_else():
    """Each step moves the weights by at most the rate times the norm, however steep the loss."""
    torch.manual_seed(0)
    constraint = CONSTRAINTS[CLIPPED_SGD]
    critic = script.critic_under(constraint)
    for parameter in critic.parameters():
        parameter.data *= 5  # steep, so that the gradient is clipped
    optimizer = script.optimizer_of(critic, constraint)
    for _ in range(3):
        before = nn.utils.parameters_to_vector(critic.parameters()).clone()
        real, fake = torch.randn(64, 2) + 1, script.held_fakes(64)
        script.critic_step(critic, optimizer, constraint.method, real, fake, constraint.max_norm)
        moved = (nn.utils.parameters_to_vector(critic.parameters()) - before).norm().item()
        assert moved == pytest.approx(script.SGD_RATE * script.MAX_NORM, rel=1e-3)


def test_the_spectral_norm_bounds_every_layer_and_so_the_slope():
    torch.manual_seed(0)
    critic = script.critic_under(CONSTRAINTS[SPECTRAL]).train()
    for _ in range(50):  # a power iteration each
        critic(torch.zeros(1, 2))
    critic.eval()
    layers = [layer for layer in critic if isinstance(layer, nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.02)
    assert script.dual(critic, torch.randn(50, 2), torch.randn(50, 2)).slope < 1.05


def test_which_optimiser_trains_what():
    optimizers = {
        name: script.optimizer_of(script.critic_under(constraint), constraint)
        for name, constraint in CONSTRAINTS.items()
    }
    kinds = {name: type(optimizer).__name__ for name, optimizer in optimizers.items()}
    assert kinds == dict.fromkeys(CONSTRAINTS, "Adam") | {
        CLIPPED_SGD: "SGD",
        CLIPPED_WEIGHTS: "RMSprop",
    }


def test_the_profile_of_a_linear_critic_is_its_line():
    critic = nn.Linear(2, 1)
    critic.weight.data = torch.tensor([[3.0, 4.0]])
    values = script.profile(critic, slope=5.0)
    # In float64, of numbers below 10.
    np.testing.assert_allclose(values, 3 / 5 * script.LINE_X.numpy(), rtol=0, atol=1e-14)


def test_the_words_say_what_papers_say_where_the_run_shows_it():
    slopes = HELD | {NOTHING: 4.0e6, CLIPPED_ADAM: 3.0e6, CLIPPED_SGD: 650.0}
    grown = {NOTHING: 16.0, CLIPPED_ADAM: 12.0, CLIPPED_SGD: 8.0}
    words = summary(rows(slopes, grown))
    assert words.startswith("Clipped gradients limit each step of the optimiser, not the critic.")
    assert "is 3,000,000 with Adam and 650 with SGD, 12 and 8.0 times as large as after 8" in words
    assert "8 steps; without any constraint it is 4,000,000, 16 times as large." in words
    assert "0.010 with clipped weights, 0.50 with spectral norm and 1.1 with gradient" in words
    assert "it should be 1, and gradient penalty comes nearest." in words
    assert "Gain / slope is 50, 50 and 50 % of the exact distance" in words


def test_the_words_say_so_where_the_run_shows_something_else():
    slopes = HELD | {NOTHING: 0.9, CLIPPED_ADAM: 0.8, CLIPPED_SGD: 0.7, PENALTY: 30.0}
    words = summary(rows(slopes, {CLIPPED_SGD: 0.5}))
    assert words.startswith("Here clipped gradients held the critic")
    assert "1.0 and 0.50 times as large as after 8 steps" in words
    assert "it should be 1, and spectral norm comes nearest" in words


@pytest.mark.parametrize("grown", [1.0, 4.0])
def test_a_slope_that_still_grows_is_not_held(grown):
    slopes = HELD | {NOTHING: 9.0, CLIPPED_ADAM: 9.0, CLIPPED_SGD: 0.9}
    words = summary(rows(slopes, {CLIPPED_SGD: grown}))
    if grown > 1:
        assert words.startswith("Clipped gradients limit each step")
    else:
        assert words.startswith("Clipped gradients did not hold the critic in one of two cases (cl")
        assert "(clipped gradients, Adam)" in words
