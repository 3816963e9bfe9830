"""mode_coverage.py: what counts as a mode and as a good sample, distances, intervals, words."""

import math

import mode_coverage
import numpy as np
import pytest
import torch
from gan.data import gaussians
from gan.study import read_rows
from scipy import stats
from scipy.optimize import linear_sum_assignment


def test_the_quick_run_leaves_a_table_and_a_picture(tmp_path, capsys):
    assert mode_coverage.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "mode_coverage.csv")
    assert len(rows) == 2 * (len(mode_coverage.NAMES) + 1)
    assert mode_coverage.summary(rows) in capsys.readouterr().out
    assert 10_000 < (tmp_path / "mode_coverage.png").stat().st_size < 250_000


def test_real_samples_are_good_as_often_as_a_normal_distribution_says():
    counts = mode_coverage.good_counts(gaussians("gaussians25"))
    share = 1 - math.exp(-(3**2) / 2)  # of a Gaussian of the plane within 3 deviations
    assert counts.sum().item() / 100_000 == pytest.approx(share, abs=0.0015)
    assert (counts - 4000 * share).abs().max() < 5 * 4000**0.5


def test_a_sample_is_good_within_three_deviations_of_a_mode_and_counts_there():
    deviation = 0.05 / 8**0.5
    first, last = torch.tensor([[-(2**0.5), -(2**0.5)], [2**0.5, 2**0.5]])
    aside = torch.tensor([0.6, 0.8]) * deviation
    samples = torch.stack([first + 2.99 * aside, first + 3.01 * aside, last - 2.99 * aside, last])
    counts = mode_coverage.good_counts(samples)
    assert (counts[0], counts[-1], counts.sum()) == (1, 2, 3)


def test_evenly_spread_samples_cover_no_mode_though_they_touch_all():
    """The reason for 20 good samples: chance puts 10000 / 25 * 9 pi deviation² / spacing² there."""
    side = 5 * mode_coverage.SPACING
    samples = side * (torch.rand(10_000, 2, generator=torch.Generator().manual_seed(0)) - 0.5)
    expected = 10_000 / 25 * 9 * math.pi * 0.05**2 / 2**2
    assert mode_coverage.good_counts(samples).double().mean().item() == pytest.approx(7, abs=1)
    assert expected == pytest.approx(7, abs=0.1)
    row = mode_coverage.row_of("", 0, samples, samples[:10])
    assert (row["modes"], row["modes with a sample"]) == (0, 25)
    assert row["good"] == pytest.approx(25 * expected / 10_000, rel=0.15)


def test_a_mode_is_covered_from_twenty_good_samples_on():
    centres = mode_coverage.MODES
    samples = torch.cat([centres[:1].expand(19, 2), centres[1:2].expand(20, 2), centres[2:3]])
    row = mode_coverage.row_of("", 0, samples, samples)
    assert (row["modes"], row["modes with a sample"], row["good"]) == (1, 3, 1.0)


def test_the_distance_is_that_of_the_best_assignment():
    real, fake = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0))
    costs = torch.cdist(real.double(), fake.double()).numpy()
    best = costs[linear_sum_assignment(costs)].mean()
    assert mode_coverage.exact_distance(real, fake) == pytest.approx(best, rel=1e-6)
    shift = torch.tensor([0.3, 0.4])
    assert mode_coverage.exact_distance(real, real + shift) == pytest.approx(0.5, rel=1e-6)


def test_tracking_is_one_where_the_loss_falls_as_the_distance_grows():
    distances = [0.1, 0.5, 0.2, 0.9]
    assert mode_coverage.tracking([-math.exp(d) for d in distances], distances) == pytest.approx(1)
    assert mode_coverage.tracking(distances, distances) == pytest.approx(-1)


def test_the_interval_is_students():
    values = np.array([1.0, 2.0, 4.0, 3.5, 0.5])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    mean, low, high = mode_coverage.interval(values)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(2.2)


def test_all_methods_take_the_same_steps_from_rates_of_their_own():
    for name in mode_coverage.NAMES:
        run = mode_coverage.new_run(mode_coverage.Training(name, 3, 7))
        settings = run.settings
        assert (settings.steps, settings.n_critic, settings.seed) == (7, 2, 3)
        assert settings.lambda_gp == (0.1 if name in mode_coverage.PENALISED else 0)
        own = 5e-5 if name == "wgan" else 1e-4
        assert settings.learning_rate == pytest.approx(mode_coverage.HURRY * own)


def test_the_critics_loss_is_taken_without_its_penalty(monkeypatch):
    """A training in which the loss is 1 - step plus a penalty, and the distance is the step."""
    steps = 40

    def train(run, _):
        for step in range(1, steps + 1):
            run.step = step
            penalty = 10.0 * step  # with it, the loss would rise
            losses = {"critic_loss": penalty + 1 - step, "penalty": penalty}
            yield torch.tensor([losses.get(name, 0.0) for name in mode_coverage.METRICS])

    distances = iter(range(steps + 1))
    monkeypatch.setattr(mode_coverage, "train", train)
    monkeypatch.setattr(mode_coverage, "exact_distance", lambda *_: next(distances))
    monkeypatch.setattr(mode_coverage, "LinearLR", lambda *_, **__: Schedule())
    row, samples = mode_coverage.measure(mode_coverage.Training("wgan-gp", 0, steps))
    assert row["correlation"] == pytest.approx(1)
    assert samples.shape == (1000, 2)


class Schedule:
    """Nothing is trained there, of which the real one would warn."""

    def step(self):
        pass


def rows_of(modes, correlations):
    """Three seeds, whose modes are one apart."""
    rows = [
        {"method": name, "seed": seed, "modes": modes[name] + seed - 1, "distance": 0.3}
        | {"good": modes[name] / 100, "correlation": correlations[name] + 0.1 * (seed - 1)}
        for name in mode_coverage.NAMES
        for seed in range(3)
    ]
    return [*rows, {"method": mode_coverage.REAL_SAMPLES, "seed": 0, "good": 0.99, "modes": 25}]


def test_the_words_where_penalties_help_and_wgans_track():
    modes = dict.fromkeys(mode_coverage.NAMES, 8) | dict.fromkeys(mode_coverage.PENALISED, 22)
    modes |= {"wgan-lp": 24, "gan-noise": 20}
    wgans = ("wgan", "wgan-gp", "wgan-lp")
    correlations = dict.fromkeys(mode_coverage.NAMES, -0.5) | dict.fromkeys(wgans, 0.8)
    correlations |= {"r1": 0.2, "gan-noise": -0.2}  # 0.1 apart, the interval reaches 0
    words = mode_coverage.summary(rows_of(modes, correlations))
    assert "penalties cover 22.0 to 24.0, the plain GANs 8.0 (means of 3 seeds): the 95 %" in words
    assert "95 % intervals of the two groups do not overlap." in words
    assert "GAN + R1, WGAN-GP and WGAN-LP put 22, 22 and 24 % of their samples" in words
    assert (
        "With instance noise, minimax GAN covers 8.0 modes, as without; GAN covers 20.0 modes"
        " instead of 8.0. The share of good samples goes from 8 % (minimax GAN) to 24 % (WGAN-LP,"
        " 24.0 modes), that of real samples is 99 %." in words
    )
    assert "follows it for clipped WGAN (0.80), WGAN-GP (0.80), WGAN-LP (0.80); goes" in words
    assert words.endswith("; is undecided for GAN + noise (-0.20), GAN + R1 (0.20).")


def test_the_words_where_they_do_not():
    modes = dict.fromkeys(mode_coverage.NAMES, 20)
    correlations = dict.fromkeys(mode_coverage.NAMES, -0.01) | {"gan": 0.9, "wgan-gp": -0.9}
    words = mode_coverage.summary(rows_of(modes, correlations))
    assert "plain GANs 20.0 (means of 3 seeds): not more in every pair." in words
    assert "follows it for GAN (0.90); goes against it for WGAN-GP (-0.90); is undecided" in words
    close = rows_of(modes | {"r1": 21, "wgan-gp": 30, "wgan-lp": 30}, correlations)
    overlap = ": more, but the 95 % intervals of the two groups overlap."
    assert overlap in mode_coverage.summary(close)


def test_all_modes_are_said_to_be_all_and_what_no_method_does_is_left_out():
    modes = dict.fromkeys(mode_coverage.NAMES, 8)
    rows = rows_of(modes, dict.fromkeys(mode_coverage.NAMES, 0.8))
    for row in rows:
        if row["method"] in mode_coverage.PENALISED:
            row["modes"] = 25
    words = mode_coverage.summary(rows)
    assert words.startswith("Of 25 modes, the gradient penalties cover all 25, the plain GANs 8.0")
    assert "follows it for minimax GAN (0.80)," in words
    assert "against" not in words
    assert "undecided" not in words
