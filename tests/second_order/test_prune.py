"""prune_zero_paths: nothing but the wasted work changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.hooks import RemovableHandle

from benchmarks.problems.operator_problem import IMPOSSIBLE
from tests.critics import CRITICS
from tests.second_order.operators import every_operator
from tests.second_order.twice import (
    assert_identical,
    by_backward,
    by_grad,
    input_gradients,
    leaves_of,
    mlp,
    penalty_of,
    points,
    unchanged,
)
from wgan_fast.second_order import prune_zero_paths, twice_differentiable_backends


def assert_prunes_exactly(critic, x, leaves, context=twice_differentiable_backends):
    for differentiate in (by_grad, by_backward):
        theirs = differentiate(penalty_of(critic, x, context=context), leaves)
        ours = differentiate(penalty_of(critic, x, prune_zero_paths, context), leaves)
        assert_identical(ours, theirs)


@every_operator
def test_every_operator(case):
    if case.kind == IMPOSSIBLE:
        with pytest.raises(RuntimeError, match="is not implemented"):
            penalty_of(case.critic(), case.samples().requires_grad_()).backward()
        return
    critic, x = case.critic(), case.samples().requires_grad_()
    assert_prunes_exactly(critic, x, leaves_of(critic, x))


@pytest.mark.parametrize("case", CRITICS, ids=lambda case: case.name)
def test_every_critic(case):
    module, critic = case.make()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    arguments = case.arguments()

    def same_state(x):  # spectral normalisation takes a step in every call
        module.load_state_dict(state)
        return critic(x, *arguments.get("critic_args", ()), **arguments.get("critic_kwargs", {}))

    x = case.samples()[0].requires_grad_()
    assert_prunes_exactly(same_state, x, leaves_of(module, x))


def test_autograd_grad_without_allow_unused():
    critic, x = mlp(3, 8, 8, 1)[:-1], points(4, 3)
    leaves = leaves_of(critic, x)
    theirs = torch.autograd.grad(penalty_of(critic, x), leaves)
    ours = torch.autograd.grad(penalty_of(critic, x, prune_zero_paths), leaves)
    assert_identical(list(ours), list(theirs))
    assert ours[2].count_nonzero() == 0  # the first bias


def test_unused_parameters_stay_unused():
    critic, x = mlp(3, 8, 1), points(4, 3)
    penalty = penalty_of(critic, x, prune_zero_paths)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(penalty, critic[2].bias)
    penalty = penalty_of(critic, x, prune_zero_paths)
    penalty.backward()
    assert critic[2].bias.grad is None


class Negative(torch.autograd.Function):
    """Someone's own, with a second derivative that is a function again, and answers with None."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return -x

    @staticmethod
    def backward(ctx, grad):
        return None if grad is None else NegativeBackward.apply(grad, *ctx.saved_tensors)


class NegativeBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, x):
        return -grad

    @staticmethod
    def backward(ctx, grad):
        return -grad, None


@pytest.mark.parametrize("first", [True, False])
def test_custom_function_that_answers_with_none(first):
    """Only the zeros of the ReLU behind it reach the bias, or nothing does."""
    layers = mlp(3, 8, 8, 1)
    negative = Negative.apply
    order = [layers[0], negative, *layers[1:]] if first else [*layers[:3], negative, *layers[3:]]

    def critic(x):
        for layer in order:
            x = layer(x)
        return x

    x = points(4, 3)
    assert_prunes_exactly(critic, x, leaves_of(layers, x))


def test_weight_that_is_computed_from_leaves():
    """Zeros have to reach what a cut-off bias was made from."""
    critic, made_from = mlp(3, 8, 1), points(8)

    def with_bias(x):
        bias = 2 * made_from.sin()
        return critic[2](torch.relu(F.linear(x, critic[0].weight, bias)))

    x = points(4, 3)
    assert_prunes_exactly(with_bias, x, [x, made_from, *critic.parameters()])


def test_spectral_norm():
    critic, x = mlp(3, 8, 8, 1).eval(), points(4, 3)
    spectral_norm(critic[0])
    critic.eval()
    assert_prunes_exactly(critic, x, leaves_of(critic, x))


def test_interpolates_with_a_graph():
    """Generator parameters behind the interpolates get the zeros that they get in PyTorch."""
    critic, generator, noise = mlp(3, 8, 1), mlp(2, 8, 3), points(4, 2)
    leaves = [*generator.parameters(), *critic.parameters()]
    results = []
    for prune in (prune_zero_paths, unchanged):
        x = generator(noise)
        results.append(by_backward(penalty_of(critic, x, prune), leaves))
    assert_identical(*results)


def test_sign_of_complex_numbers_has_a_derivative():
    """SgnBackward0 is cut for real numbers only."""
    critic = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()

    def spectral(x):
        return critic(torch.fft.rfft(critic[0](x), dim=1)[:, :3].abs().repeat(1, 2))

    x = points(4, 6)
    assert_prunes_exactly(spectral, x, leaves_of(critic, x))
    theirs = by_grad(penalty_of(spectral, x), [x])[0]
    assert theirs.abs().max() > 1e-3


def test_slope_of_prelu_differentiated_in_turn():
    """The zero gradient of PReLU's double backward is not zero if the slope's gradient is used."""
    critic, x = mlp(3, 8, 8, 1, activation=nn.PReLU), points(4, 3)
    leaves = leaves_of(critic, x)
    results = []
    for prune in (prune_zero_paths, lambda gradients: gradients):
        found = torch.autograd.grad(critic(x).square().sum(), leaves, create_graph=True)
        results.append(by_backward(sum(g.square().sum() for g in prune(found)), leaves))
    assert_identical(*results)


def test_look_alike_stays():
    """A function of somebody else's that has the name of PyTorch's."""

    def square(ctx, grad):
        (x,) = ctx.saved_tensors
        return LookAlike.apply(grad, x)

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    square_function = type(
        "Square",
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(square)},
    )

    def first_order(ctx, grad, x):
        ctx.save_for_backward(grad, x)
        return 2 * grad * x

    LookAlike = type(
        "ThresholdBackwardBackward0",
        (torch.autograd.Function,),
        {
            "forward": staticmethod(first_order),
            "backward": staticmethod(
                lambda ctx, t: (2 * t * ctx.saved_tensors[1], 2 * t * ctx.saved_tensors[0])
            ),
        },
    )
    critic, x = mlp(3, 8, 1, activation=nn.Identity), points(4, 3)

    def smooth(x):
        return critic[2](square_function.apply(critic[0](x)))

    assert_prunes_exactly(smooth, x, leaves_of(critic, x))
    assert critic[0].bias.grad.abs().max() > 1e-3


def test_several_gradients():
    critic, x, t = mlp(4, 8, 8, 1), points(5, 3), points(5, 1)
    leaves = [x, t, *critic.parameters()]
    results = []
    for prune in (prune_zero_paths, unchanged):
        scores = critic(torch.cat([x, t], 1))
        found = torch.autograd.grad(scores.sum(), (x, t), create_graph=True)
        results.append(by_backward(sum(g.square().sum() for g in prune(found)), leaves))
    assert_identical(*results)


def test_one_of_several_gradients():
    """What leads to the other one alone gets nothing, not even zeros."""
    critics, x = [mlp(3, 8, 1), mlp(3, 8, 1)], points(4, 3)
    first, second = prune_zero_paths([input_gradients(critic, x) for critic in critics])
    first.square().sum().backward()
    assert second.requires_grad
    assert critics[0][0].weight.grad is not None
    assert critics[1][0].weight.grad is None


def test_values_types_and_none():
    x, unused = points(4, 3), points(1)
    scores = mlp(3, 8, 1)(x).sum()
    given = torch.autograd.grad(scores, (x, unused), create_graph=True, allow_unused=True)
    pruned = prune_zero_paths(list(given))
    assert isinstance(pruned, tuple)
    assert torch.equal(pruned[0], given[0])
    assert pruned[1] is None
    assert prune_zero_paths([]) == ()


@pytest.mark.parametrize("wrong", [None, 3.0, "x", {"x": torch.ones(1)}])
def test_wrong_type(wrong):
    with pytest.raises(TypeError, match="gradients must be a tensor or a sequence"):
        prune_zero_paths(wrong)


def test_wrong_type_in_a_sequence():
    with pytest.raises(TypeError, match=r"gradients\[1\] is a float"):
        prune_zero_paths([torch.ones(1), 2.0])


def test_gradients_without_a_graph():
    plain = torch.ones(3)
    assert torch.equal(prune_zero_paths(plain), plain)
    leaf = points(3)
    assert prune_zero_paths(leaf) is leaf


def test_idempotent():
    """A second call on the same graph hooks nothing again and gives the same gradients."""
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    gradients = input_gradients(critic, x)
    before = RemovableHandle.next_id
    once = prune_zero_paths(gradients)
    hooks = RemovableHandle.next_id - before
    assert hooks == 2
    twice = prune_zero_paths(once)
    prune_zero_paths(gradients)
    assert RemovableHandle.next_id - before == hooks
    leaves = leaves_of(critic, x)
    ours = by_backward(((twice.norm(dim=1) - 1) ** 2).mean(), leaves)
    assert_identical(ours, by_backward(penalty_of(critic, x), leaves))
