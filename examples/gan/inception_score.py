"""The inception score of digits, with a classifier that is trained on the training digits alone.

exp(E KL(p(y|x) ‖ p(y))) over the samples x, where p(y|x) is what a classifier says of x and p(y) is
the mean of that over all samples: high where each sample is clearly of one class, and where the
samples are of all classes. It is between 1 and the number of classes. It does not see whether a
sample is a copy of a training digit, nor how much samples of one class differ.
Source: Salimans et al., "Improved Techniques for Training GANs", arXiv 1606.03498, section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

N_CLASSES = 10
EPOCHS, BATCH_SIZE = 20, 64
#: Of the samples, for a class to count as covered: a fifth of what each would get of an equal
#: share, and more than the classifier's errors put into a class that is missing.
LEAST_SHARE = 0.02


def digit_classifier(training: Tensor, labels: Tensor, *, seed: int = 0) -> nn.Module:
    """A network from digits [B, 1, s, s] in [-1, 1] to logits [B, 10], trained in seconds.

    It depends on its arguments alone, and random numbers drawn elsewhere are not disturbed.

    Args:
        training: the digits to train it on, [n, 1, s, s], s a whole number from 8 on.
        labels: which digit each shows, [n], whole numbers from 0 to 9.
    """
    check_digits(training, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = new_classifier()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.01)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(training)).split(BATCH_SIZE):
                loss = nn.functional.cross_entropy(classifier(training[chosen]), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return classifier.eval()


def check_digits(training: Tensor, labels: Tensor) -> None:
    if training.dim() != 4 or training.shape[1] != 1 or min(training.shape[2:]) < 8:
        raise ValueError(
            "training must be digits [n, 1, s, s] with s from 8 on, but its shape is"
            f" {list(training.shape)}"
        )
    if labels.shape != training.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be whole numbers [{len(training)}], one for each digit, but they are"
            f" {labels.dtype} {list(labels.shape)}"
        )
    if not ((labels >= 0) & (labels < N_CLASSES)).all():
        raise ValueError(
            f"labels must be from 0 to {N_CLASSES - 1}, but they are from {labels.min()} to"
            f" {labels.max()}"
        )


def new_classifier() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),  # the same for every size of image
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * 4 * 4, N_CLASSES),
    )


@torch.no_grad()
def class_probabilities(classifier: nn.Module, samples: Tensor) -> Tensor:
    """p(y|x) for each of the samples, [n, classes], in float64."""
    logits = torch.cat([classifier(part) for part in samples.split(512)])
    return logits.double().softmax(1)


@torch.no_grad()
def last_features(classifier: nn.Module, samples: Tensor) -> Tensor:
    """What the classifier's last layer is given for each of the samples, [n, d], in float64."""
    *layers, _ = classifier.children()
    return torch.cat([nn.Sequential(*layers)(part) for part in samples.split(512)]).double()


def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of the images whose most probable class is their label."""
    return (class_probabilities(classifier, images).argmax(1) == labels).double().mean().item()


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """The mean of the score over the splits, and its standard deviation over them.

    As in the paper's code, the samples are cut into that many parts in their order, each has a p(y)
    of its own, and the deviation is that of the parts themselves (divided by their number). So the
    samples must not be sorted, and fewer samples in each part make the score lower.

    Args:
        probabilities: p(y|x) for each sample, [n, classes].

    Raises:
        ValueError: if they are no probabilities, or too few for the splits.
    """
    check_probabilities(probabilities)
    if not 1 <= splits <= len(probabilities):
        raise ValueError(
            f"splits must be from 1 to the number of samples, {len(probabilities)}, but it is"
            f" {splits}; take more samples or fewer splits"
        )
    scores = torch.stack([score_of(part) for part in probabilities.double().tensor_split(splits)])
    return scores.mean().item(), scores.std(correction=0).item()


def score_of(probabilities: Tensor) -> Tensor:
    """exp(E KL(p(y|x) ‖ p(y))) of these samples; 0 log 0 is 0."""
    marginal = probabilities.mean(0, keepdim=True)
    terms = probabilities.xlogy(probabilities) - probabilities.xlogy(marginal)
    return terms.sum(1).mean().exp()


def covered_classes(probabilities: Tensor, least_share: float = LEAST_SHARE) -> int:
    """How many classes are the most probable one for at least that share of the samples.

    Classes have collapsed where this is less than for real samples.
    """
    check_probabilities(probabilities)
    if not 0 < least_share <= 1:
        raise ValueError(f"least_share must be above 0 and at most 1, but it is {least_share}")
    counts = probabilities.argmax(1).bincount(minlength=probabilities.shape[1])
    return int((counts >= least_share * len(probabilities)).sum())


def check_probabilities(probabilities: Tensor) -> None:
    if probabilities.dim() != 2 or not probabilities.numel():
        raise ValueError(
            "probabilities must be [n, classes] of one sample and class at least, but their shape"
            f" is {list(probabilities.shape)}"
        )
    if not probabilities.is_floating_point() or not (probabilities >= 0).all():
        raise ValueError(
            "probabilities must be numbers from 0 on, but they are"
            f" {probabilities.dtype}, the least {probabilities.min()}; take the softmax of logits"
        )
    off = (probabilities.double().sum(1) - 1).abs()
    if not off.max() <= 1e-3:  # also where it is not a number
        raise ValueError(
            f"each row of probabilities must sum to 1, but row {int(off.argmax())} sums to"
            f" {probabilities[off.argmax()].sum():.6g}; take the softmax of logits over the classes"
        )
