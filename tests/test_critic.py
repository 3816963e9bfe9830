"""The critic: what it may be, and what it may return."""

import functools
import warnings

import pytest
import torch
from torch import nn

from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.critics import mlp
from tests.textbook import textbook_gradient_penalty
from tests.textbook_family import euclidean_norms, input_gradient, mixed
from wgan_fast import (
    approximate_r1,
    consistency_term,
    fast_gradient_penalty,
    gradient_norms,
)
from wgan_fast._penalise.critic import input_gradients, module_of


def samples(batch=4):
    return torch.randn(2, batch, 3)


@pytest.mark.parametrize("critic", [None, 3, "critic", torch.ones(2)], ids=str)
def test_critic_must_be_callable(critic):
    with pytest.raises(TypeError, match=r"critic must be callable, .* but it is "):
        fast_gradient_penalty(critic, *samples())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "but it returned None"),
        (lambda x: (x.sum(1), x), "but it returned a tuple"),
        (lambda x: [x.sum(1)], "but it returned a list"),
        (lambda x: {"score": x.sum(1)}, "but it returned a dict"),
        (lambda x: x.sum().item(), "but it returned a float"),
        (lambda x: x.detach().numpy(), "but it returned a ndarray"),
        (lambda x: x.argmax(1), r"floating scores, but they are torch\.int64"),
        (lambda x: x.sum(1) > 0, r"floating scores, but they are torch\.bool"),
        (lambda x: x.sum(1) + 1j, r"floating scores, but they are torch\.complex64"),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_critic_must_return_a_floating_tensor(returned, message, chunk_size):
    with pytest.raises(TypeError, match=rf"critic must return .*{message}"):
        fast_gradient_penalty(returned, *samples(), chunk_size=chunk_size)


@pytest.mark.parametrize(
    "returned", [torch.Tensor.to_sparse, lambda x: torch.nested.as_nested_tensor(list(x))]
)
def test_critic_must_return_a_dense_tensor(returned):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch: nested tensors are a prototype
        with pytest.raises(TypeError, match=r"critic must return a dense tensor of scores, but"):
            fast_gradient_penalty(returned, *samples())


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("grad", [True, False])
def test_critic_must_not_return_one_number_for_several_samples(chunk_size, grad):
    message = (
        r"critic must return a score for each of the \d samples.* returned shape \[\]; do not "
        "average over the batch"
    )
    with torch.set_grad_enabled(grad):
        for returned in (torch.mean, torch.sum):
            with pytest.raises(ValueError, match=message):
                fast_gradient_penalty(returned, *samples(), chunk_size=chunk_size)
            with pytest.raises(ValueError, match=message):
                gradient_norms(returned, *samples(), chunk_size=chunk_size)


@pytest.mark.parametrize(
    "returned", [lambda x: x[:0], lambda x: x[:, :0], lambda x: x[:0, 0], lambda x: x[:, :0].T]
)
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_critic_must_return_some_score(returned, chunk_size):
    """Or the gradient is zero, and the penalty a constant."""
    message = r"critic must return at least one score, but it returned shape \[.*0"
    with pytest.raises(ValueError, match=message):
        fast_gradient_penalty(returned, *samples(), chunk_size=chunk_size)
    with pytest.raises(ValueError, match=message):
        gradient_norms(returned, *samples(), chunk_size=chunk_size)


def test_critic_must_return_some_score_for_each_sample():
    for call in [
        lambda critic: fast_gradient_penalty(
            critic, *samples(), double_backward="finite_difference"
        ),
        lambda critic: consistency_term(critic, samples()[0]),
        lambda critic: approximate_r1(critic, samples()[0]),
    ]:
        with pytest.raises(ValueError, match="critic must return at least one score"):
            call(lambda x: x[:, :0])


#: Scores that have other shapes than a row for each sample; all count.
OTHER_SHAPES = {
    "one row": lambda scores: scores.reshape(1, -1),
    "samples in columns": lambda scores: torch.stack([scores, scores**2]),
    "a list of all": lambda scores: torch.cat([scores, scores.exp()]),
    "packs": lambda scores: scores.reshape(-1, 2).sum(1, keepdim=True),
    "more dimensions": lambda scores: scores.reshape(2, 1, 1, -1),
}


@pytest.mark.parametrize("arrange", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_scores_of_any_shape_count_by_their_sum(arrange, reduction, chunk_size):
    net = mlp(nn.Tanh, size=3).double()
    real, fake = torch.randn(2, 4, 3, dtype=torch.float64)
    epsilon = torch.rand(4, dtype=torch.float64)
    given = {"epsilon": epsilon, "reduction": reduction}
    results = []
    for penalty_of, critic, choice in [
        (fast_gradient_penalty, lambda x: arrange(net(x).squeeze(1)), {"chunk_size": chunk_size}),
        (textbook_gradient_penalty, lambda x: arrange(net(x).squeeze(1)), {}),
    ]:
        penalty = penalty_of(critic, real, fake, **given, **choice)
        results.append((penalty, gradients_of(penalty.sum(), net)))
    assert_close(results[0][0], results[1][0])
    assert_same_gradients(results[0][1], results[1][1])
    norms = gradient_norms(critic, real, fake, epsilon=epsilon, chunk_size=chunk_size)
    points = mixed(real, fake, epsilon)
    assert_close(norms.interpolates, euclidean_norms(input_gradient(critic, points)).detach())


@pytest.mark.parametrize("double_backward", ["pruned", "finite_difference"])
def test_the_score_of_a_single_sample_may_be_one_number(double_backward):
    real, fake = samples(1)
    penalty, norms = fast_gradient_penalty(
        lambda x: (x * torch.tensor([3.0, 0.0, 4.0])).sum(), real, fake, return_norms=True,
        double_backward=double_backward,
    )  # fmt: skip
    assert norms.tolist() == [5.0]
    assert penalty == 160


@pytest.mark.parametrize("arrange", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_a_row_for_each_sample_where_scores_are_compared(arrange):
    net = mlp(nn.Tanh, size=3)

    def critic(x):
        return arrange(net(x).squeeze(1))

    real, fake = samples()
    message = r"critic must return a score for each of the 4 samples, shape \[4, \*\]"
    for call in [
        lambda: fast_gradient_penalty(critic, real, fake, double_backward="finite_difference"),
        lambda: consistency_term(critic, real),
        lambda: approximate_r1(critic, real),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "critic",
    [
        lambda x: x.sum(1).detach(),
        lambda x: torch.no_grad()(torch.sum)(x, 1),
        lambda x: torch.ones(len(x)),
        lambda x: torch.ones(len(x), requires_grad=True) * 2,
        lambda x: x.sum(1).detach().requires_grad_(),
    ],
    ids=["detached", "no_grad", "constant", "connected to something else", "a new leaf"],
)
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("grad", [True, False])
def test_scores_must_depend_on_the_input(critic, chunk_size, grad):
    message = r"critic must return scores that depend on its input .* not connected to it"
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=message):
        fast_gradient_penalty(critic, *samples(), chunk_size=chunk_size)


def test_errors_of_the_critic_are_its_own():
    def critic(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fast_gradient_penalty(critic, *samples())


def test_input_gradients():
    points = torch.randn(4, 3, requires_grad=True)
    gradients = input_gradients(
        lambda x, k, *, m: (k * x**2 + m).sum(1), points, (3,), {"m": 1},
        create_graph=True, prune=True, module=None,
    )  # fmt: skip
    assert torch.allclose(gradients, 6 * points)
    assert gradients.requires_grad
    assert points.grad is None


def test_module_of():
    net = mlp(nn.ReLU)
    assert module_of(net) is net
    assert module_of(net.forward) is net
    assert module_of(functools.partial(functools.partial(net.forward))) is net
    assert module_of(lambda x: net(x)) is None
    assert module_of(torch.sum) is None
