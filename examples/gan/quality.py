"""How good samples of digits are, in numbers: inception score, classes, kernel distance."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from torch import Tensor, nn

from .data import SplitDigits, split_digits
from .inception_score import (
    accuracy,
    class_probabilities,
    covered_classes,
    digit_classifier,
    inception_score,
)
from .kernel_distance import kernel_distance

#: Samples in each part that has a score of its own: fewer make the score lower.
PART = 120


class ClassifiedDigits(NamedTuple):
    """Digits, a classifier that knows only those to train on, and its accuracy on the others."""

    digits: SplitDigits
    classifier: nn.Module
    accuracy: float


@cache
def classified_digits(size: int, seed: int) -> ClassifiedDigits:
    """The digits of this seed with their classifier, which takes seconds once in a process."""
    digits = split_digits(size, seed)
    classifier = digit_classifier(digits.training, digits.labels, seed=seed)
    return ClassifiedDigits(
        digits, classifier, accuracy(classifier, digits.held_out, digits.held_out_labels)
    )


def quality(samples: Tensor, real: Tensor, classifier: nn.Module) -> dict[str, float]:
    """What the samples get: the distance is that to ``real``, the score has no need of it."""
    pixels, real_pixels = (x.flatten(1).double().cpu().numpy() for x in (samples, real))
    distance, error = kernel_distance(pixels, real_pixels)
    probabilities = class_probabilities(classifier, samples)
    score, deviation = inception_score(probabilities, splits=max(1, round(len(samples) / PART)))
    return {
        "distance": distance,
        "error": error,
        "score": score,
        "score deviation": deviation,
        "classes": covered_classes(probabilities),
    }
