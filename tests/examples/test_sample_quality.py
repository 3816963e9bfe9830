"""sample_quality.py: the kernel distance, its error, what is held out, and what is said of it."""

import math

import numpy as np
import pytest
import sample_quality as study
import torch
from gan.data import digits
from gan.methods import METHODS
from gan.study import read_rows

from .test_train import assert_picture


def brute_force(x, y):
    """The unbiased MMD², pair by pair: arXiv 1801.01401, equation 4."""

    def k(a, b):
        return (sum(a_i * b_i for a_i, b_i in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(k(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * across


def samples(seed, n, m, shift=0.0, d=3):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(m, d)) + shift


@pytest.mark.parametrize(("n", "m"), [(9, 9), (12, 7), (7, 12)])
def test_the_distance_is_that_of_all_pairs(n, m):
    x, y = samples(0, n, m, shift=0.3)
    distance, _ = study.kernel_distance(x, y, groups=3)
    assert distance == pytest.approx(brute_force(x, y), rel=1e-12)


def test_the_error_is_the_jackknife_over_groups():
    groups, (x, y) = 4, samples(1, 13, 10, shift=0.3)
    left_out = [
        brute_force(x[np.arange(len(x)) % groups != g], y[np.arange(len(y)) % groups != g])
        for g in range(groups)
    ]
    mean = sum(left_out) / groups
    variance = (groups - 1) / groups * sum((value - mean) ** 2 for value in left_out)
    _, error = study.kernel_distance(x, y, groups)
    assert error == pytest.approx(math.sqrt(variance), rel=1e-9)


def trials(shift, n_trials=400):
    """Distances and errors of that many pairs of small samples, of 40 and 60."""
    pairs = (samples(seed, 40, 60, shift) for seed in range(n_trials))
    return np.array([study.kernel_distance(x, y) for x, y in pairs]).T


def test_samples_of_one_distribution_are_at_distance_zero_on_average():
    distances, _ = trials(shift=0.0)
    assert abs(distances.mean()) < 3 * distances.std() / math.sqrt(len(distances))
    assert (distances < 0).any()


def test_with_the_diagonal_the_distance_would_be_biased(monkeypatch):
    unbiased = study.group_means
    monkeypatch.setattr(study, "group_means", lambda k, g, within: unbiased(k, g, within=False))
    distances, _ = trials(shift=0.0)
    assert distances.mean() > 10 * distances.std() / math.sqrt(len(distances))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_error_is_the_scatter_of_the_distance(shift):
    distances, errors = trials(shift)
    ratio = math.sqrt((errors**2).mean()) / distances.std()
    # At distance 0 the jackknife errs upwards, as the docstring says.
    assert 0.9 < ratio < (1.6 if shift == 0 else 1.15)


def by_rows(matrix):
    return torch.from_numpy(matrix.numpy()[np.lexsort(matrix.numpy().T)])


def test_held_out_digits_are_not_trained_on():
    training, held_out = study.split_digits(3)
    assert len(held_out) == study.HELD_OUT
    together = torch.cat([training, held_out]).flatten(1)
    assert torch.equal(by_rows(together), by_rows(digits(8).flatten(1)))
    assert not torch.equal(held_out, study.split_digits(4)[1])


def test_training_takes_only_training_digits(monkeypatch):
    given = []

    def batches(samples, **options):
        given.append(samples.samples)
        return right(samples, **options)

    right = study.batches
    monkeypatch.setattr(study, "batches", batches)
    study.work(study.Item("gan", seed=1, critic_steps=1))
    assert torch.equal(given[0], study.split_digits(1)[0])


@pytest.mark.parametrize(("name", "generator_steps"), [("gan", 10), ("wgan", 2)])
def test_methods_differ_in_generator_steps_and_not_in_critic_steps(name, generator_steps):
    rows = study.work(study.Item(name, seed=0, critic_steps=10))
    last = rows[-1]
    assert (last["generator steps"], last["critic steps"]) == (generator_steps, 10)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_seeds_are_averaged_and_both_scatters_count():
    seeds = [
        {"method": "gan", "seconds": 10.0, "distance": 0.1, "error": 0.03},
        {"method": "gan", "seconds": 20.0, "distance": 0.3, "error": 0.04},
    ]
    row = study.averaged(seeds)
    assert row["seconds"] == 15
    assert row["distance"] == pytest.approx(0.2)
    assert row["deviation of seeds"] == pytest.approx(math.sqrt(0.02))
    assert row["error"] == pytest.approx(math.sqrt(((0.03**2 + 0.04**2) / 2 + 0.02) / 2))


def test_averages_do_not_mix_methods_or_checkpoints():
    measured = [
        [
            {"method": name, "generator steps": step, "seconds": 1.0, "error": 0.0}
            | {"distance": 10.0 * step + seed}
            for step in (1, 2)
        ]
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
    anchors = {study.FLOOR, study.UNTRAINED, study.NOISE}
    assert ends.keys() == {"wgan-gp", "gan", "r3gan"} | anchors
    assert abs(ends[study.FLOOR]["distance"]) < 0.01 < 1 < ends[study.UNTRAINED]["distance"]
    assert_picture(tmp_path / "sample_quality.png", panels=2)


def row(method, distance, error=0.001, seconds=10.0):
    common = {"generator steps": 800, "critic steps": 4000, "deviation of seeds": 0.0}
    numbers = {"distance": distance, "error": error, "seconds": seconds}
    return {"method": method} | common | numbers


ANCHORS = [row(study.FLOOR, 0.0, seconds=0), row(study.UNTRAINED, 3.0, seconds=0)]


def test_a_method_that_is_clearly_closest_is_named():
    rows = [*ANCHORS, row("gan", 0.5, seconds=20.0), row("r1", 2.0, seconds=3.0)]
    rows.append(row("r1", 0.02, seconds=6.0))
    text = study.summary(rows)
    assert text.startswith(
        "Closest to held-out digits: GAN + R1 with kernel distance 0.0200 ± 0.0010, above the"
        " 0.0000 ± 0.0010 of training digits. All others are behind it by more than two standard"
        " errors, GAN the farthest with 0.5000"
    )
    assert "took 6 to 20 s" in text
    assert "reached by 1 of 2 methods, first by GAN + R1 after 6 s" in text


def test_methods_within_the_errors_are_not_ranked():
    text = study.summary([*ANCHORS, row("gan", 0.003, 0.002), row("r1", 0.002, 0.002)])
    assert "GAN + R1 with kernel distance 0.0020 ± 0.0020, which cannot be told from" in text
    assert "No other method is behind it by more than two standard errors" in text
    rows = [*ANCHORS, row("gan", 0.003, 0.002), row("r1", 0.002, 0.002), row("wgan", 0.4)]
    text = study.summary(rows)
    assert "GAN is within two standard errors of the difference; 1 of 2 others are" in text
    assert "further behind, clipped WGAN the farthest with 0.4000" in text


def test_methods_that_do_not_arrive_are_said_not_to():
    text = study.summary([*ANCHORS, row("gan", 2.9), row("r1", 2.8)])
    assert "no method came to a hundredth of the untrained distance" in text


def test_every_method_has_a_place_in_the_picture():
    rows = [*ANCHORS, row(study.NOISE, 3.2)]
    rows += [row(name, 0.01 * 1.5**i) for i, name in enumerate(METHODS)]
    left, right = study.figure_of(rows).axes
    assert len(left.get_yticks()) == len(METHODS) + 3
    lines = right.get_legend_handles_labels()[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(METHODS)


def test_the_table_has_a_line_for_all_the_best_first():
    ends = [row("wgan-gp", 0.5, seconds=20.4), row("gan", 0.02), row(study.FLOOR, 0.001)]
    ends += [row(study.UNTRAINED, 3.0), row(study.NOISE, 4.0)]
    header, *lines = study.table([row("wgan-gp", 9.0), *ends])
    assert {len(line) for line in lines} == {len(header)}
    names = [line[0] for line in lines]
    assert names == [study.FLOOR, "GAN", "WGAN-GP", study.UNTRAINED, study.NOISE]
    assert lines[2][1] == "20"
    assert lines[2][3] == "0.5000 ± 0.0010"
