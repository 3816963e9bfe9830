"""architectures.py: which runs fail, what is averaged, and what is said of it."""

import architectures as study
import pytest
import torch
from gan.architectures import ARCHITECTURES
from gan.data import split_digits
from gan.inception_score import last_features
from gan.methods import METHODS
from gan.quality import classified_digits
from gan.study import read_rows

from .test_train import assert_picture


@pytest.fixture(scope="module")
def digits():
    return classified_digits(study.SIZE, 0).digits


@pytest.fixture(scope="module")
def references(digits):
    """The rows of training digits and of the trivial generator."""
    items = [study.Item("", name, 0) for name in (study.TRAINING, study.TRIVIAL)]
    return [study.measure(item)[0] for item in items]


def measured(samples):
    return study.row_of(study.Item("baseline", "gan", 0), samples)


def test_held_out_digits_do_not_fail(digits, references):
    assert not study.fails(references, measured(digits.held_out))
    assert not study.fails(references, references[0])


def test_collapsed_classes_fail_at_whatever_distance(digits, references):
    row = measured(digits.training[digits.labels != 3])
    assert row["classes"] == 9
    assert row["distance"] < references[1]["distance"], "the classes are what it fails by"
    assert study.fails(references, row)


@pytest.mark.parametrize("quantity", ["distance", "distance on pixels"])
def test_samples_of_all_classes_fail_that_are_too_far_off(digits, references, quantity):
    row = measured(0.3 * digits.training - 0.7)  # all that is bright is dim
    row["classes"] = 10
    assert row[quantity] > references[1][quantity]
    assert study.fails(references, row, quantity)


def test_one_digit_repeated_and_a_diverged_generator_fail(digits, references):
    for samples in (
        digits.training[:1].repeat(200, 1, 1, 1),
        torch.full((200, 1, 8, 8), torch.nan),
    ):
        assert study.fails(references, measured(samples))


def test_a_wrong_distance_changes_the_verdict(digits, references, monkeypatch):
    row = measured(digits.training[::2])
    assert not study.fails(references, row)
    right = study.kernel_distance
    monkeypatch.setattr(study, "kernel_distance", lambda x, y: right(x, y[:, ::-1]))
    assert study.fails(references, measured(digits.training[::2]))


def test_the_distances_are_those_to_held_out_digits(digits, references, monkeypatch):
    compared = []
    monkeypatch.setattr(study, "kernel_distance", lambda x, y: compared.append((x, y)) or (0, 1))
    measured(digits.training)
    classifier = classified_digits(study.SIZE, 0).classifier
    for images, side in ((digits.training, 0), (digits.held_out, 1)):
        features, pixels = (torch.from_numpy(pair[side]) for pair in compared)
        assert torch.equal(pixels, images.flatten(1).double())
        assert torch.equal(features, last_features(classifier, images))


def test_the_rule_is_that_of_the_same_seed():
    rows = [
        row("", study.TRIVIAL, distance=0.1 + seed, seed=seed, classes=10) for seed in (0, 1)
    ] + [row("", study.TRAINING, distance=0.0, seed=seed) for seed in (0, 1)]
    assert study.fails(rows, row("mlp", "gan", distance=0.5, seed=0))
    assert not study.fails(rows, row("mlp", "gan", distance=0.5, seed=1))
    assert study.fails(rows, row("mlp", "gan", distance=0.5, seed=1, classes=9))


def test_the_trivial_generator_keeps_each_pixel_and_nothing_between_them(digits):
    training = digits.training
    samples = study.samples_without_training(study.Item("", study.TRIVIAL, 0), training)
    assert samples.shape == training.shape
    flat, real = samples.flatten(1).double(), training.flatten(1).double()
    assert (flat.mean(0) - real.mean(0)).abs().max() < 0.15
    assert (flat.std(0) - real.std(0)).abs().max() < 0.15
    bright = real.std(0) > 0.3

    def correlations(x):
        return torch.corrcoef(x[:, bright].T).fill_diagonal_(0).abs().mean()

    assert correlations(flat) < 0.04 < 0.15 < correlations(real)


@pytest.mark.parametrize("name", study.NAMES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_has_the_networks_of_the_architecture_and_the_rest_of_the_method(architecture, name):
    run = study.new_run(study.Item(architecture, name, seed=3, critic_steps=100))
    method, settings = METHODS[name], run.settings
    torch.manual_seed(3)
    expected = ARCHITECTURES[architecture].networks((1, 8, 8), study.WIDTH)
    for network, other in zip((run.critic, run.generator), expected, strict=True):
        assert str(network) == str(other)
        assert all(map(torch.equal, network.parameters(), other.parameters()))
    assert settings.steps * method.n_critic == 100
    assert settings.learning_rate == pytest.approx(study.HURRY * method.learning_rate)
    assert (settings.lambda_gp, settings.method) == (method.weight, name)


def test_training_takes_only_training_digits(given_to_training):
    given = given_to_training(study)
    samples = study.trained_samples(study.Item("mlp", "gan", 1, 1), split_digits(study.SIZE, 1))
    assert torch.equal(given[0], split_digits(study.SIZE, 1).training)
    assert samples.shape == given[0].shape


def test_the_quick_run_leaves_its_table_and_picture(tmp_path, capsys):
    assert study.main(["--quick", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "architectures.csv")
    assert len(rows) == len(ARCHITECTURES) * len(study.NAMES) + 2
    assert capsys.readouterr().out.startswith(study.summary(rows) + "\n")
    assert_picture(tmp_path / "architectures.png", panels=6)


def row(architecture, name, distance, seed=0, classes=10, on_pixels=0.0, error=0.001):
    numbers = {"distance": distance, "error": error, "distance on pixels": on_pixels}
    place = {"architecture": architecture, "method": name, "seed": seed, "critic steps": 7}
    return place | numbers | {"classes": classes}


def rows_of(far, seeds=3, collapsed=()):
    """All cells are close to the digits but these, of which that many seeds are far off."""
    rows = []
    for seed in range(seeds):
        rows += [row("", study.TRAINING, 0.0, seed), row("", study.TRIVIAL, 0.1, seed)]
        for architecture in ARCHITECTURES:
            for name in study.NAMES:
                cell = (architecture, name)
                distance = 0.5 if seed < far.get(cell, 0) else 0.01
                rows.append(row(*cell, distance, seed, 7 if cell in collapsed else 10))
    return rows


def test_a_cell_fails_if_most_of_its_seeds_do():
    rows = rows_of({("mlp", "gan"): 2, ("mlp", "wgan"): 1}, collapsed={("tanh", "r3gan")})
    assert study.failing(rows, "gan") == ["mlp"]
    assert study.failing(rows, "wgan") == []
    assert study.failing(rows, "r3gan") == ["tanh"]
    cell = study.cell_of(rows, "mlp", "gan")
    assert cell.distance == pytest.approx((0.5 + 0.5 + 0.01) / 3)
    assert cell.error == pytest.approx((0.001**2 + 0.49**2 / 3) ** 0.5 / 3**0.5)
    assert cell.text == "0.34 ± 0.16, 2 of 3 fail"
    assert study.cell_of(rows, "plain", "gan").text == "0.01000 ± 0.00058"


def test_the_words_where_the_papers_claim_shows():
    rows = rows_of(
        {("mlp", "gan"): 3, ("tanh", "gan"): 2, ("baseline", "wgan"): 3, ("mlp", "wgan-gp"): 1}
    )
    words = study.summary(rows)
    assert words.startswith(
        "As the paper says, WGAN-GP fails with no design and the GAN with some: an MLP generator"
        " and tanh in both. Of 6 architectures, judged by most of 3 seeds, GAN fails with an MLP"
        " generator and tanh in both (5 of 18 runs); clipped WGAN fails with the baseline (3 of 18"
        " runs); WGAN-GP fails with none (1 of 18 runs); R3GAN recipe fails with none (0 of 18"
        " runs). "
    )
    assert "clipped WGAN 0.50000 ± 0.00058, 3 of 3 fail; WGAN-GP 0.01000 ± 0.00058;" in words
    assert "GAN is closer than WGAN-GP with 0 of 6 architectures, WGAN-GP with 0." in words
    assert words.endswith("Of 24 cells 3 fail; by the distance on pixels 0 would.")


def test_the_words_where_it_does_not_show():
    words = study.summary(rows_of({}))
    assert words.startswith(
        "What the paper says does not show on digits: with no design does only the GAN fail. Of"
    )
    both = {("mlp", "gan"): 3, ("mlp", "wgan-gp"): 3, ("residual", "wgan-gp"): 3}
    words = study.summary(rows_of(both))
    assert words.startswith(
        "What the paper says does not show on digits: with no design does only the GAN fail, and"
        " with the deep residual pair only WGAN-GP does."
    )
    assert "GAN is closer than WGAN-GP with 1 of 6 architectures, WGAN-GP with 0." in words


def test_a_baseline_alone_does_not_make_the_claim():
    words = study.summary(rows_of({("baseline", "gan"): 3}))
    assert words.startswith("What the paper says does not show")


def test_the_words_where_it_shows_in_part():
    words = study.summary(rows_of({("mlp", "gan"): 3, ("tanh", "wgan-gp"): 3}))
    assert words.startswith(
        "In part as the paper says: with an MLP generator the GAN fails and WGAN-GP does not, but"
        " WGAN-GP fails with tanh in both."
    )


def test_pixels_are_counted_by_themselves():
    rows = rows_of({}, seeds=1)
    for each in rows:
        if (each["architecture"], each["method"]) == ("mlp", "wgan"):
            each["distance on pixels"] = 1.0
    assert study.summary(rows).endswith("Of 24 cells 0 fail; by the distance on pixels 1 would.")


def test_the_table_has_a_line_for_each_architecture():
    header, *lines = study.table(rows_of({("mlp", "r3gan"): 3}))
    assert header[1:] == ["GAN", "clipped WGAN", "WGAN-GP", "R3GAN recipe"]
    assert [line[0] for line in lines][1:3] == ["constant number of filters", "MLP generator"]
    assert len(lines) == len(ARCHITECTURES)
    assert lines[list(ARCHITECTURES).index("mlp")][4] == "0.50000 ± 0.00058, 3 of 3 fail"
