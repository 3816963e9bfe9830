"""score_over_time.py: equal steps, equal time, and what is said of the scores."""

import numpy as np
import pytest
import score_over_time as study
from gan.methods import METHODS
from gan.models import Residual
from gan.study import read_rows

from .test_train import assert_picture


def test_the_quick_run_leaves_a_table_and_a_picture(tmp_path, capsys):
    assert study.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "score_over_time.csv")
    assert study.summary(rows) in capsys.readouterr().out
    curves = {(row["pair"], row["method"]) for row in rows}
    assert curves == {(pair, name) for pair in study.CRITIC_STEPS for name in study.NAMES} | {
        ("", study.TRAINING_DIGITS)
    }
    scores = [row["score"] for row in rows]
    assert max(scores[:-1]) < scores[-1] == study.digits_score(rows)
    assert 8.5 < scores[-1] < 10
    assert_picture(tmp_path / "score_over_time.png", panels=2)


def test_methods_take_the_same_critic_steps_with_the_same_networks():
    for pair, critic_steps in study.CRITIC_STEPS.items():
        runs = [
            study.new_run(study.Training(pair, name, 3, 0.5, 1), (1, 8, 8)) for name in study.NAMES
        ]
        for name, run in zip(study.NAMES, runs, strict=True):
            settings = run.settings
            assert settings.steps * settings.n_critic == critic_steps / 2
            assert settings.learning_rate == pytest.approx(4 * METHODS[name].learning_rate)
            assert settings.seed == 3
            assert str(run.critic) == str(runs[0].critic)
            assert str(run.generator) == str(runs[0].generator)
            residual = any(isinstance(layer, Residual) for layer in run.critic)
            assert residual == (pair == study.RESNET)


def rows_of(scores, seconds):
    """Two seeds that are ``0.1`` apart, and scores that rise linearly from 1."""
    rows = [
        {"pair": pair, "method": name, "seed": seed, "seconds": part * seconds[name]}
        | {"generator steps": 10 * part, "score": 1 + part * (scores[name] - 1) + 0.1 * seed}
        for pair in study.CRITIC_STEPS
        for name in study.NAMES
        for seed in (0, 1)
        for part in (0.5, 1)
    ]
    digits = {"pair": "", "method": study.TRAINING_DIGITS, "score": 9.0, "accuracy": 0.975}
    return [*rows, digits | {"seed": 0}, digits | {"seed": 1, "score": 9.5}]


def test_methods_are_compared_when_the_first_has_ended():
    rows = rows_of({"gan": 9, "wgan": 3, "wgan-gp": 5}, {"gan": 40, "wgan": 20, "wgan-gp": 25})
    seconds, scores = study.at_equal_time(rows, study.DCGAN)
    assert seconds == 20
    np.testing.assert_allclose(scores["gan"], [5, 5.1])
    np.testing.assert_allclose(scores["wgan"], [3, 3.1])
    np.testing.assert_allclose(scores["wgan-gp"], [4.2, 4.3])
    text = study.summary(rows)
    assert text.startswith(
        "Inception scores after the same time: with the DCGAN pair GAN is first (GAN 5.05, clipped"
        " WGAN 3.05 and WGAN-GP 4.25 after 20 s); with the ResNet pair GAN is first (GAN 5.05,"
    )
    assert "With the ResNet pair, WGAN-GP is above clipped WGAN and below GAN." in text
    assert (
        "On CIFAR-10, the paper has WGAN-GP above clipped weights; so here with DCGAN and" in text
    )
    assert "Training digits get 9.25; the classifier is right for 97.5 %" in text
    assert text.endswith("means of 2 seeds.")


def test_scores_whose_seeds_overlap_are_not_ordered():
    seconds = dict.fromkeys(study.NAMES, 10)
    text = study.summary(rows_of({"gan": 5.05, "wgan": 4, "wgan-gp": 5}, seconds))
    assert "with the DCGAN pair GAN is first" in text
    assert "With the DCGAN pair, WGAN-GP is above clipped WGAN and level with GAN." in text


def test_a_paper_that_is_not_borne_out_is_said_so():
    rows = rows_of({"gan": 5, "wgan": 6, "wgan-gp": 4}, dict.fromkeys(study.NAMES, 10))
    text = study.summary(rows)
    assert "With the DCGAN pair, WGAN-GP is below clipped WGAN and below GAN." in text
    assert "the paper has WGAN-GP above clipped weights; not so here." in text
