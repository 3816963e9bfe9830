"""gradient_flow.py: gradients by hand, where weights begin and end, and what is said."""

import math

import gradient_flow
import numpy as np
import pytest
import torch
from gan.data import swissroll
from gan.study import read_rows
from gradient_flow import DEPTH, PENALTY, SETTINGS, WIDTH, Training

from .test_train import assert_picture


def test_the_quick_run_leaves_its_table_its_picture_and_its_words(tmp_path, capsys):
    assert gradient_flow.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "gradient_flow.csv")
    assert gradient_flow.summary(rows) in capsys.readouterr().out
    assert_picture(tmp_path / "gradient_flow.png", panels=2)
    assert (tmp_path / "gradient_flow.png").stat().st_size < 250_000
    runs = [(row["setting"], row["seed"], row["layer"]) for row in rows]
    assert runs == [(s, seed, k) for seed in (0, 1) for s in SETTINGS for k in range(DEPTH + 1)]
    before = [row["at bound before"] for row in rows if 1 < row["layer"] < DEPTH]
    assert np.mean(before) == pytest.approx(0.01, rel=0.2), "1 % of uniform weights, none cut off"


def layers_of(critic):
    return [layer for layer in critic if isinstance(layer, torch.nn.Linear)]


def norms_by_hand(critic, real, fake):
    """Backpropagation as in a textbook, with arrays."""
    weights = [layer.weight.detach().double().numpy() for layer in layers_of(critic)]
    biases = [layer.bias.detach().double().numpy() for layer in layers_of(critic)]
    samples = torch.cat([real, fake]).double().numpy()
    before_relu = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        before_relu.append((samples if i == 0 else np.maximum(before_relu[-1], 0)) @ w.T + b)
    gradient = np.r_[np.full(len(real), -1 / len(real)), np.full(len(fake), 1 / len(fake))][:, None]
    norms = [np.linalg.norm(gradient)]
    for i in reversed(range(len(weights))):
        gradient = gradient @ weights[i]
        norms.append(np.linalg.norm(gradient))
        if i > 0:
            gradient = gradient * (before_relu[i - 1] > 0)
    return np.array(norms[::-1]) / norms[0]


def test_gradient_norms_are_those_of_backpropagation_by_hand():
    torch.manual_seed(0)
    critic = gradient_flow.deep_critic(math.inf)
    for layer in layers_of(critic):
        torch.nn.init.normal_(layer.bias, std=0.1)
    real, fake = torch.randn(5, 2), torch.randn(5, 2)
    norms = gradient_flow.layer_gradient_norms(critic, real, fake)
    np.testing.assert_allclose(norms, norms_by_hand(critic, real, fake), rtol=1e-10)
    assert critic[0].weight.dtype == torch.float32, "the critic that trains on is left as it was"


@pytest.mark.parametrize("c", [0.1, 0.001])
def test_equal_weights_have_a_closed_form(c):
    """Of positive samples all units are active: each layer multiplies the gradient by WIDTH · c."""
    critic = gradient_flow.deep_critic(c)
    for layer in layers_of(critic):
        torch.nn.init.constant_(layer.weight, c)
    norms = gradient_flow.layer_gradient_norms(critic, torch.rand(4, 2), torch.rand(4, 2))
    c = float(np.float32(c))
    hidden = [c * WIDTH**0.5 * (WIDTH * c) ** (DEPTH - 1 - k) for k in range(1, DEPTH)]
    np.testing.assert_allclose(norms, [hidden[0] * c * (2 * WIDTH) ** 0.5, *hidden, 1], rtol=1e-10)


@pytest.mark.parametrize("clip", [math.inf, 0.01])
def test_weights_begin_uniform_within_hes_bound_or_the_clips(clip):
    critic = gradient_flow.deep_critic(clip)
    shapes = [tuple(layer.weight.shape) for layer in layers_of(critic)]
    assert shapes == [(WIDTH, 2), *[(WIDTH, WIDTH)] * (DEPTH - 2), (1, WIDTH)]
    for layer in layers_of(critic):
        deviation = min(math.sqrt(2 / layer.in_features), clip / math.sqrt(3))  # He: var = 2 / n
        assert layer.weight.abs().max() <= deviation * math.sqrt(3) * (1 + 1e-6)
        if layer.weight.numel() > 1000:
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_critic_trains_on_the_roll_and_its_noisy_copy(setting, monkeypatch):
    steps = []
    monkeypatch.setattr(gradient_flow, "critic_step", lambda *arguments: steps.append(arguments))
    gradient_flow.train(gradient_flow.deep_critic(0.1), Training(setting, seed=0, steps=30))
    assert len(steps) == 30
    _, optimizer, method, *_ = steps[0]
    real, fake = (torch.cat([step[i] for step in steps]) for i in (3, 4))
    assert torch.cdist(real[:100], swissroll()).min(1).values.max() < 1e-2  # cdist rounds
    noise = fake - real
    assert noise.mean().abs() < 0.1
    assert noise.std().item() == pytest.approx(1, rel=0.1)
    assert method is SETTINGS[setting]
    rate = optimizer.param_groups[0]["lr"]
    if setting == PENALTY:
        assert (type(optimizer), rate) == (torch.optim.Adam, pytest.approx(5e-4))
    else:
        assert (type(optimizer), rate) == (torch.optim.RMSprop, pytest.approx(2.5e-4))
        assert f"c = {method.clip:g}" == setting


def test_training_moves_weights_to_the_bound_and_not_beyond():
    torch.manual_seed(0)
    rows, histogram = gradient_flow.measure(Training("c = 0.1", seed=0, steps=150))
    again, _ = gradient_flow.measure(Training("c = 0.1", seed=0, steps=150))
    assert rows == again
    assert "at bound after" not in rows[0], "no weights lead to the input"
    assert rows[1]["at bound after"] > 0.2 > 0.05 > rows[1]["at bound before"]
    assert histogram.limit == 0.1
    assert histogram.before.sum() == pytest.approx(1)
    assert histogram.after.sum() == pytest.approx(1), "a weight beyond the bins is beyond the bound"
    ends = histogram.after[[0, -1]].sum()
    assert ends > 3 * histogram.before[[0, -1]].sum()


def test_shares_at_the_bound():
    weights = torch.tensor([[-0.1, 0.0995, 0.098, 0.0], [0.1, -0.0985, 0.05, 0.02]])
    assert gradient_flow.share_at_bound(weights, 0.1) == 3 / 8
    assert gradient_flow.share_at_bound(weights, 1.0) == 0
    assert gradient_flow.share_at_bound(10 * weights, None) == 3 / 8
    flat = torch.tensor([-0.1, 0.1, 0.1, 0.0])
    assert gradient_flow.shares(0.1, flat)[[0, 20, -1]].tolist() == [1 / 4, 1 / 4, 1 / 2]


def test_only_weights_between_hidden_layers_are_compared():
    weights = gradient_flow.weights_of(gradient_flow.deep_critic(0.1))
    expected = torch.stack(weights[1:11]).flatten()
    assert torch.equal(gradient_flow.hidden(weights), expected)


def invented(ratios, after):
    """Rows in which the gradient grows from layer 11 to layer 1 by the setting's ratio."""
    rows = []
    for seed in range(3):
        for setting, ratio, share in zip(SETTINGS, ratios, after, strict=True):
            for layer in range(DEPTH + 1):
                norm = 3 * ratio ** ((DEPTH - 1 - layer) / (DEPTH - 2))
                outside = layer in (1, DEPTH)  # not between hidden layers
                rows.append(
                    {"setting": setting, "seed": seed, "layer": layer}
                    | {"gradient norm": norm * ((1, 2, 9)[seed] if layer == 1 else 1)}
                    | {"at bound before": "" if layer == 0 else 0.5 if outside else 0.01}
                    | {"at bound after": "" if layer == 0 else 0.0 if outside else share}
                )
    return rows


def test_the_words_for_what_the_paper_says():
    # Of three seeds, the median has twice the norm at layer 1.
    words = gradient_flow.summary(invented((5e4, 5e-9, 5e-20, 0.5), (0.6, 0.9, 0.98, 0)))
    assert words == (
        "In a critic of 12 layers the gradient explodes with weights clipped at 0.1, vanishes with"
        " weights clipped at 0.01 and 0.001 and keeps its size with the gradient penalty. From the"
        " last hidden layer back to the first its norm is multiplied by 10⁵, 10⁻⁸, 10⁻¹⁹ and 1"
        " (median of 3 seeds). Training pushes weights to within 1 % of ±c for c = 0.1 (1 → 60 %),"
        " c = 0.01 (1 → 90 %) and c = 0.001 (1 → 98 %)."
    )


def test_the_words_for_the_opposite():
    words = gradient_flow.summary(invented((0.5, 0.4, 2, 5e-5), (0.02, 0.01, 0.1, 0)))
    assert words == (
        "In a critic of 12 layers the gradient vanishes with the gradient penalty and keeps its"
        " size with weights clipped at 0.1, 0.01 and 0.001. From the last hidden layer back to the"
        " first its norm is multiplied by 1, 0.8, 4 and 10⁻⁴ (median of 3 seeds). Training pushes"
        " few weights to within 1 % of ±c: c = 0.1 (1 → 2 %), c = 0.01 (1 → 1 %) and c = 0.001"
        " (1 → 10 %)."
    )


def test_the_words_for_one_bound_of_three():
    words = gradient_flow.summary(invented((5e4, 500, 5e-9, 40), (0.6, 0.01, 0.02, 0)))
    assert words.startswith(
        "In a critic of 12 layers the gradient explodes with weights clipped at 0.1 and 0.01 and"
        " the gradient penalty and vanishes with weights clipped at 0.001."
    )
    assert words.endswith(
        "for c = 0.1 (1 → 60 %), but not for c = 0.01 (1 → 1 %) and c = 0.001 (1 → 2 %)."
    )


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0"), (0.43, "0.43"), (95.0, "95"), (3e-16, "10⁻¹⁶"), (9e5, "10⁶")]
)
def test_large_factors_are_powers_of_ten(ratio, text):
    assert gradient_flow.rounded(ratio) == text
