"""gan/inception_score.py: known values, what must not change them, and bugs that they notice."""

import copy
import math

import numpy as np
import pytest
import torch
from gan import inception_score
from gan.data import split_digits
from gan.inception_score import (
    accuracy,
    class_probabilities,
    covered_classes,
    digit_classifier,
    last_features,
)
from scipy import stats

from tests.comparing import assert_close


def one_hot(classes):
    return torch.eye(10, dtype=torch.float64)[torch.as_tensor(classes)]


def soft(n, seed=0):
    """Probabilities that differ from row to row, each clearly for one class."""
    logits = 3 * torch.randn(n, 10, generator=torch.Generator().manual_seed(seed))
    return logits.double().softmax(1)


def by_scipy(probabilities, splits):
    """The score in scipy's words, whose entropy takes the natural logarithm."""
    scores = [
        math.exp(np.mean([stats.entropy(row, part.mean(0)) for row in part]))
        for part in np.array_split(probabilities.numpy(), splits)
    ]
    return np.mean(scores), np.std(scores)


def assert_known_values(score):
    """Of a function of probabilities and splits."""
    all_alike = one_hot([k for _ in range(10) for k in range(10)])  # ten parts with ten classes
    assert score(all_alike, 10) == pytest.approx((10, 0), abs=1e-12)
    assert score(one_hot([3] * 100), 10) == pytest.approx((1, 0), abs=1e-12)
    assert score(torch.full((40, 10), 0.1), 10) == pytest.approx((1, 0), abs=1e-6)
    apart = one_hot([k for k in range(10) for _ in range(10)])  # ten parts with one class each
    assert score(apart, 10) == pytest.approx((1, 0), abs=1e-12)
    assert score(apart, 1) == pytest.approx((10, 0), abs=1e-12)
    one_or_two = one_hot([*[0] * 20, *[0, 1] * 10])  # parts with one class, and with two
    assert score(one_or_two, 4) == pytest.approx((1.5, 0.5), abs=1e-12)
    two = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64).repeat(8, 1)
    expected = math.exp(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert score(two, 2) == pytest.approx((expected, 0), rel=1e-12)


def test_known_values():
    assert_known_values(inception_score.inception_score)


@pytest.mark.parametrize(("n", "splits"), [(100, 10), (103, 10), (7, 7), (50, 1)])
def test_it_is_what_scipy_gives(n, splits):
    probabilities = soft(n)
    score, deviation = inception_score.inception_score(probabilities, splits)
    assert (score, deviation) == pytest.approx(by_scipy(probabilities, splits), rel=1e-10)
    assert 1 <= score <= 10


def with_rows_permuted(probabilities, splits):
    """Each row by a permutation of its own: what the classes are is lost."""
    random = torch.Generator().manual_seed(0)
    orders = torch.rand(probabilities.shape, generator=random).argsort(1)
    return inception_score.inception_score(probabilities.gather(1, orders), splits)


def with_one_split(probabilities, _):
    return inception_score.inception_score(probabilities, 1)


def with_logarithm_to_base_2(probabilities, splits):
    def score_of(part):
        ratio = torch.where(part > 0, part / part.mean(0), 1.0)
        return (part * ratio.log2()).sum(1).mean().exp()

    scores = torch.stack([score_of(part) for part in probabilities.tensor_split(splits)])
    return scores.mean().item(), scores.std(correction=0).item()


def with_a_common_marginal(probabilities, splits):
    marginal = probabilities.mean(0)
    parts = probabilities.tensor_split(splits)
    terms = (p.xlogy(p) - p.xlogy(marginal) for p in parts)
    scores = torch.stack([part.sum(1).mean().exp() for part in terms])
    return scores.mean().item(), scores.std(correction=0).item()


@pytest.mark.parametrize(
    "wrong",
    [with_rows_permuted, with_one_split, with_logarithm_to_base_2, with_a_common_marginal],
)
def test_a_wrong_score_does_not_have_the_known_values(wrong):
    with pytest.raises(AssertionError):
        assert_known_values(wrong)


def test_classes_may_have_other_names_but_the_same_ones_in_all_rows():
    probabilities = soft(100)
    score = inception_score.inception_score(probabilities)
    renamed = probabilities[:, torch.randperm(10, generator=torch.Generator().manual_seed(1))]
    assert inception_score.inception_score(renamed) == pytest.approx(score, rel=1e-12)
    one_class = soft(1).expand(100, 10)
    assert inception_score.inception_score(one_class)[0] == pytest.approx(1)
    assert with_rows_permuted(one_class, 10)[0] > 2


def test_a_class_is_covered_from_the_least_share_on():
    probabilities = one_hot([*[0] * 50, *[1] * 44, *[2] * 4, *[3] * 2])
    assert covered_classes(probabilities, least_share=0.04) == 3
    assert covered_classes(probabilities, least_share=0.041) == 2
    assert covered_classes(probabilities, least_share=0.01) == 4
    assert covered_classes(one_hot(range(10)), least_share=0.1) == 10


@pytest.mark.parametrize(
    ("probabilities", "options", "message"),
    [
        (torch.ones(10), {}, r"\[n, classes\].*their shape is \[10\]"),
        (torch.empty(0, 10), {}, r"of one sample.*\[0, 10\]"),
        (one_hot(range(9)), {}, "splits must be from 1 to the number of samples, 9, but it is 10"),
        (one_hot(range(9)), {"splits": 0}, "but it is 0"),
        (one_hot(range(10)) * 2, {}, "sum to 1, but row 0 sums to 2; take the softmax"),
        (torch.full((10, 10), math.nan), {}, "numbers from 0 on"),
        (one_hot(range(10)).log_softmax(1), {}, "from 0 on.*take the softmax"),
        (one_hot(range(10)).long(), {}, "torch.int64"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, options, message):
    with pytest.raises(ValueError, match=message):
        inception_score.inception_score(probabilities, **options)


def test_no_share_is_refused():
    with pytest.raises(ValueError, match="least_share must be above 0"):
        covered_classes(one_hot([0]), least_share=0.0)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((4, 64), [0, 1, 2, 3], r"\[n, 1, s, s\].*\[4, 64\]"),
        ((4, 3, 8, 8), [0, 1, 2, 3], r"\[4, 3, 8, 8\]"),
        ((4, 1, 4, 4), [0, 1, 2, 3], "s from 8 on"),
        ((4, 1, 8, 8), [0, 1, 2], r"whole numbers \[4\].*\[3\]"),
        ((4, 1, 8, 8), [0.0, 1.0, 2.0, 3.0], "torch.float32"),
        ((4, 1, 8, 8), [0, 1, 2, 10], "from 0 to 9, but they are from 0 to 10"),
    ],
)
def test_what_cannot_be_learned_is_refused(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        digit_classifier(torch.zeros(shape), torch.tensor(labels))


@pytest.fixture(scope="module")
def digits():
    return split_digits(8, seed=0)


@pytest.fixture(scope="module")
def classifier(digits):
    return digit_classifier(digits.training, digits.labels)


def test_the_classifier_knows_digits_that_it_has_not_seen(classifier, digits):
    assert accuracy(classifier, digits.held_out, digits.held_out_labels) > 0.95
    permuted = digits.held_out_labels[torch.randperm(len(digits.held_out_labels))]
    assert accuracy(classifier, digits.held_out, permuted) < 0.2


def test_a_classifier_of_permuted_labels_is_noticed(digits, monkeypatch):
    monkeypatch.setattr(inception_score, "EPOCHS", 3)
    wrong = digit_classifier(digits.training, digits.labels.roll(1))
    assert accuracy(wrong, digits.held_out, digits.held_out_labels) < 0.3
    right = digit_classifier(digits.training, digits.labels)
    assert accuracy(right, digits.held_out, digits.held_out_labels) > 0.8
    scores = [
        inception_score.inception_score(class_probabilities(network, digits.training))[0]
        for network in (wrong, right)
    ]
    assert scores[0] < 0.5 * scores[1]


def test_the_classifier_depends_on_its_seed_alone_and_disturbs_nothing(digits, monkeypatch):
    monkeypatch.setattr(inception_score, "EPOCHS", 1)
    few = digits.training[:100], digits.labels[:100]
    before = torch.get_rng_state()
    first = digit_classifier(*few, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    again, other = digit_classifier(*few, seed=1), digit_classifier(*few, seed=2)
    same, differ = (
        [torch.equal(a, b) for a, b in zip(first.parameters(), x.parameters(), strict=True)]
        for x in (again, other)
    )
    assert all(same)
    assert not any(differ)
    assert not first.training


def test_samples_are_ordered_as_they_must_be(classifier, digits):
    n = len(digits.training)
    noise = 2 * torch.rand(digits.training.shape, generator=torch.Generator().manual_seed(0)) - 1
    one_class = digits.training[digits.labels == 3]
    repeated = digits.training[:1].expand(n, -1, -1, -1)
    probabilities = [
        class_probabilities(classifier, x) for x in (digits.training, noise, one_class, repeated)
    ]
    (training, _), (of_noise, _), (of_class, _), (of_one, deviation) = map(
        inception_score.inception_score, probabilities
    )
    assert training > 8.5
    assert 0.6 * training > of_noise > of_class + 0.5
    assert 1.2 > of_class > of_one + 1e-3
    assert (of_one, deviation) == pytest.approx((1, 0), abs=1e-12)
    covered = [covered_classes(x) for x in probabilities]
    assert (covered[0], covered[2:]) == (10, [1, 1])


@pytest.fixture(scope="module")
def in_double(classifier):
    """In parts or at once, its sums are rounded otherwise: in float64 by nothing that matters."""
    return copy.deepcopy(classifier).double()


def test_probabilities_are_those_of_the_network_whatever_the_number(in_double, digits):
    images = digits.training.double()
    probabilities = class_probabilities(in_double, images)
    assert probabilities.dtype == torch.float64
    assert len(probabilities) == len(images) > 512
    assert_close(probabilities, in_double(images).softmax(1))


def test_the_last_features_are_what_the_last_layer_is_given(in_double, digits):
    images = digits.training.double()
    features = last_features(in_double, images)
    assert len(features) == len(images) > 512
    assert_close(in_double[-1](features), in_double(images))


def test_probabilities_are_in_double_precision(classifier, digits):
    assert class_probabilities(classifier, digits.training[:3]).dtype == torch.float64
    assert last_features(classifier, digits.training[:3]).dtype == torch.float64
