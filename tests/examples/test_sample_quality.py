"""sample_quality.py: what is held out, what is measured, and what is said of it."""

import math

import pytest
import sample_quality as study
import torch
from gan.data import split_digits
from gan.methods import METHODS
from gan.study import read_rows

from .test_train import assert_picture


def test_training_takes_only_training_digits(given_to_training):
    given = given_to_training(study)
    study.work(study.Item("gan", seed=1, critic_steps=1))
    assert torch.equal(given[0], split_digits(8, 1).training)


@pytest.mark.parametrize(("name", "generator_steps"), [("gan", 10), ("wgan", 2)])
def test_methods_differ_in_generator_steps_and_not_in_critic_steps(name, generator_steps):
    rows = study.work(study.Item(name, seed=0, critic_steps=10))
    last = rows[-1]
    assert (last["generator steps"], last["critic steps"]) == (generator_steps, 10)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_seeds_are_averaged_and_both_scatters_of_the_distance_count():
    seeds = [
        {"method": "gan", "seconds": 10.0, "distance": 0.1, "error": 0.03, "score": 8.0}
        | {"score deviation": 0.1, "classes": 10, "accuracy": 0.9},
        {"method": "gan", "seconds": 20.0, "distance": 0.3, "error": 0.04, "score": 9.0}
        | {"score deviation": 0.3, "classes": 9, "accuracy": 1.0},
    ]
    row = study.averaged(seeds)
    means = {"seconds": 15, "distance": 0.2, "score": 8.5, "score deviation": 0.2}
    means |= {"classes": 9.5, "accuracy": 0.95}
    assert {column: row[column] for column in means} == pytest.approx(means)
    assert row["deviation of seeds"] == pytest.approx(math.sqrt(0.02))
    assert row["error"] == pytest.approx(math.sqrt(((0.03**2 + 0.04**2) / 2 + 0.02) / 2))


def test_averages_do_not_mix_methods_or_checkpoints():
    measured = [
        [row(name, 10.0 * step + seed) | {"generator steps": step} for step in (1, 2)]
        for name in ("gan", "r1")
        for seed in (0, 1)
    ]
    rows = study.rows_of_all(measured, n_seeds=2)
    assert [(row["method"], row["generator steps"], row["distance"]) for row in rows] == [
        (name, step, 10 * step + 0.5) for name in ("gan", "r1") for step in (1, 2)
    ]


def test_the_quick_run_leaves_its_table_and_picture(tmp_path, capsys):
    assert study.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "sample_quality.csv")
    output = capsys.readouterr().out
    assert output.startswith(study.summary(rows) + "\n")
    ends = study.at_the_end(rows)
    assert ends.keys() == {"wgan-gp", "gan", "r3gan", study.FLOOR, study.HELD_OUT, *study.SANITY}
    assert abs(ends[study.FLOOR]["distance"]) < 0.01 < 1 < ends[study.UNTRAINED]["distance"]
    scores = [ends[name]["score"] for name in study.REFERENCES]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 8.5
    assert scores[-1] == pytest.approx(1)
    assert (ends[study.FLOOR]["classes"], ends[study.ONE_CLASS]["classes"]) == (10, 1)
    assert all(row["accuracy"] == ends[study.FLOOR]["accuracy"] > 0.95 for row in rows)
    assert_picture(tmp_path / "sample_quality.png", panels=3)


def row(method, distance, error=0.001, seconds=10.0, score=None, classes=10):
    score = 9 - distance / 10 if score is None else score
    common = {"generator steps": 800, "critic steps": 4000, "deviation of seeds": 0.0}
    common |= {"accuracy": 0.975, "score deviation": 0.125}
    numbers = {"distance": distance, "error": error, "seconds": seconds}
    return {"method": method} | common | numbers | {"score": score, "classes": classes}


ANCHORS = [
    row(study.FLOOR, 0.0, seconds=0),
    row(study.HELD_OUT, 0.0, seconds=0, score=8.5),
    row(study.UNTRAINED, 3.0, seconds=0, score=2.5, classes=2),
    row(study.NOISE, 3.2, seconds=0, score=3.0, classes=8),
    row(study.ONE_CLASS, 0.5, seconds=0, score=1.25, classes=1),
    row(study.REPEATED, 4.0, seconds=0, score=1.0, classes=1),
]


def test_a_method_that_is_clearly_closest_is_named():
    rows = [*ANCHORS, row("gan", 0.5, seconds=20.0), row("r1", 2.0, seconds=3.0)]
    rows.append(row("r1", 0.02, seconds=6.0))
    text = study.summary(rows)
    assert text.startswith(
        "Closest to held-out digits is GAN + R1 with a kernel distance of 0.0200 ± 0.0010 (none of"
        " 1 others is within two standard errors of the difference), above the 0.0000 ± 0.0010 of"
        " training digits. Clearly behind: all others, GAN the farthest with 0.5000"
    )
    assert text.count("The estimate is unbiased, so a distance near 0 can be negative.") == 1
    assert "took 6 to 20 s" in text
    assert "reached by 1 of 2 methods, first by GAN + R1 after 6 s" in text


def test_methods_within_the_errors_are_not_ranked():
    text = study.summary([*ANCHORS, row("gan", 0.003, 0.002), row("r1", 0.002, 0.002)])
    assert "GAN + R1 with a kernel distance of 0.0020 ± 0.0020 (1 of 1 others is within" in text
    assert "of the difference), level with the 0.0000 ± 0.0010 of training digits." in text
    assert "Not told apart from it: GAN; clearly behind: none." in text
    assert "critic steps took 10 s" in text
    rows = [*ANCHORS, row("gan", 0.003, 0.002), row("r1", 0.002, 0.002), row("wgan", 0.4)]
    text = study.summary(rows)
    assert "(1 of 2 others is within two standard errors of the difference)" in text
    assert "Not told apart from it: GAN; clearly behind: 1 of 2, clipped WGAN the" in text
    assert "the farthest with 0.4000" in text


def test_methods_that_do_not_arrive_are_said_not_to():
    text = study.summary([*ANCHORS, row("gan", 2.9), row("r1", 2.8)])
    assert "no method came to a hundredth of the untrained distance" in text


def test_scores_are_told_with_what_they_are_compared_with():
    rows = [*ANCHORS, row("gan", 0.2, score=7.0), row("r1", 0.1, score=8.0, classes=9)]
    rows.append(row("wgan", 0.3, score=6.0))
    text = study.summary(rows)
    assert "right for 97.5 % of the others, GAN + R1 has the highest inception score," in text
    assert "8.00 ± 0.12, and clipped WGAN the lowest, 6.00 ± 0.12; GAN + R1 missed classes" in text
    assert (
        "training digits 9.00 ± 0.12, held-out digits 8.50 ± 0.12, uniform noise 3.00 ± 0.12, one"
        " class of digits 1.25 ± 0.12, one digit repeated 1.00 ± 0.12" in text
    )
    assert "score and nearness over the methods is 1.00." in text
    rows[-1]["score"] = 9.0
    assert "score and nearness over the methods is -0.50." in study.summary(rows)


def test_every_method_has_a_place_in_the_picture():
    rows = [*ANCHORS]
    rows += [row(name, 0.01 * 1.5**i) for i, name in enumerate(METHODS)]
    left, middle, right = study.figure_of(rows).axes
    assert len(left.get_yticks()) == len(middle.get_yticks()) == len(METHODS) + len(ANCHORS)
    assert left.get_ylim() == middle.get_ylim()
    lines = right.get_legend_handles_labels()[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(METHODS)


def test_the_table_has_a_line_for_all_the_best_first():
    rows = [row("wgan-gp", 9.0), row("wgan-gp", 0.5, seconds=20.4), row("gan", 0.02, score=7.0)]
    header, *lines = study.table([*rows, *ANCHORS])
    assert {len(line) for line in lines} == {len(header)}
    names = [line[0] for line in lines]
    assert names == [study.FLOOR, study.HELD_OUT, "GAN", "WGAN-GP", *study.SANITY]
    assert lines[2] == ["GAN", "10", "800", "0.0200 ± 0.0010", "7.00 ± 0.12", "10"]
    assert lines[3][1] == "20"
    assert lines[3][3] == "0.5000 ± 0.0010"
