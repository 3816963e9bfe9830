"""prune_zero_paths among everything else that people do with a graph."""

import gc
import threading
import weakref

import pytest
import torch
from torch import nn

from benchmarks.flops import flops_of
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
from wgan_fast.second_order import prune_zero_paths
from wgan_fast.second_order.prune import cut_zero_paths


def test_gradients_may_be_changed_in_place():
    critic, x = mlp(3, 8, 1), points(4, 3)
    leaves = leaves_of(critic, x)
    results = []
    for prune in (prune_zero_paths, unchanged):
        gradients = prune(input_gradients(critic, x))
        gradients += 1
        gradients.mul_(2)
        results.append(by_backward(gradients.square().sum(), leaves))
    assert_identical(*results)


def test_twice_over_one_graph():
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    leaves = leaves_of(critic, x)
    gradients = prune_zero_paths(input_gradients(critic, x))
    first = by_grad(gradients.square().sum(), leaves)
    second = by_grad(gradients.square().sum(), leaves)
    assert_identical(first, second)
    theirs = by_grad(input_gradients(critic, x).square().sum(), leaves)
    assert_identical(first, theirs)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.PReLU])
@pytest.mark.parametrize("again", [True, False])
def test_third_order(activation, again):
    critic, x = mlp(3, 8, 8, 1, activation=activation), points(4, 3)
    leaves = leaves_of(critic, x)
    weights = [critic[0].weight, critic[2].weight]
    results = []
    for prune in (prune_zero_paths, unchanged):
        penalty = penalty_of(critic, x, prune)
        found = torch.autograd.grad(penalty, weights, create_graph=True)
        if again:
            found = prune(found)
        results.append(by_backward(sum(g.square().sum() for g in found), leaves))
    assert_identical(*results)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, lambda n: nn.GroupNorm(2, n)])
def test_third_order_through_normalisation(norm):
    """Its gradient functions get undefined gradients while a graph is recorded."""
    critic, x = mlp(3, 8, 8, 1, activation=lambda: nn.Sequential(norm(8), nn.ReLU())), points(4, 3)
    weights = [critic[0].weight, critic[2].weight]
    results = []
    for prune in (prune_zero_paths, unchanged):
        penalty = penalty_of(critic, x, prune)
        found = torch.autograd.grad(penalty, weights, create_graph=True)
        results.append(by_grad(sum(g.square().sum() for g in found), leaves_of(critic, x)))
    assert_identical(*results)


def test_anomaly_mode():
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    leaves = leaves_of(critic, x)
    theirs = by_backward(penalty_of(critic, x), leaves)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        ours = by_backward(penalty_of(critic, x, prune_zero_paths), leaves)
    assert_identical(ours, theirs)


def test_threads():
    """Each thread its own penalty of the same critic, all at once."""
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    weights = list(critic.parameters())[:-1]
    theirs = by_grad(penalty_of(critic, x), weights)
    results = [[]] * 4

    def work(index):
        own = x.detach().clone().requires_grad_()
        for _ in range(20):
            gradients = prune_zero_paths(input_gradients(critic, own))
            results[index] = by_grad(((gradients.norm(dim=1) - 1) ** 2).mean(), weights)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours in results:
        assert_identical(ours, theirs)


def test_hooks_of_the_user_on_the_same_gradient_functions():
    critic, x = mlp(3, 8, 1), points(4, 3)
    seen = []

    def hooked(prune):
        gradients = input_gradients(critic, x)
        node = gradients.grad_fn
        while node.name() != "ThresholdBackwardBackward0":
            node = node.next_functions[0][0]
        node.register_prehook(lambda grads: seen.append("before"))
        node.register_hook(lambda grads, _: seen.append(grads[0].shape))
        gradients = prune(gradients)
        node.register_hook(lambda grads, _: seen.append(grads[1] is None))
        return by_backward(gradients.square().sum(), leaves_of(critic, x))

    assert_identical(hooked(prune_zero_paths), hooked(unchanged))
    assert seen == ["before", (4, 8), True, "before", (4, 8), False]


def test_hooks_on_parameters():
    critic, x = mlp(3, 8, 1), points(4, 3)
    seen = []
    handles = [p.register_hook(lambda g: seen.append(g.abs().sum())) for p in critic.parameters()]
    penalty_of(critic, x, prune_zero_paths).backward()
    assert len(seen) == 3  # both weights, and the first bias with its zeros
    assert min(seen) == 0
    for handle in handles:
        handle.remove()


def test_full_backward_hooks_of_modules_see_what_they_always_saw():
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    seen = []
    critic[2].register_full_backward_hook(lambda *grads: seen.append(grads[1:]))
    for prune in (prune_zero_paths, unchanged):
        penalty_of(critic, x, prune).backward()
    ours, theirs = seen[:2], seen[2:]
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        for grads, others in zip(mine, other, strict=True):
            assert_identical(list(grads), list(others))


def test_retained_gradients():
    """A retained gradient inside the critic: what PyTorch's first pass left there stays."""
    critic, x = mlp(3, 8, 1), points(4, 3)

    def inside(x):
        hidden = critic[0](x)
        hidden.retain_grad()
        return critic[2](critic[1](hidden))

    leaves = leaves_of(critic, x)
    theirs = by_backward(penalty_of(inside, x), leaves)
    assert_identical(by_backward(penalty_of(inside, x, prune_zero_paths), leaves), theirs)


def test_inside_a_transform():
    """torch.func around the whole penalty."""
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    names, values = zip(*critic.named_parameters(), strict=True)

    def penalty(*values, prune):
        def scores(x):
            return torch.func.functional_call(critic, dict(zip(names, values, strict=True)), x)

        gradients = torch.func.grad(lambda x: scores(x).sum())(x.detach())
        return ((prune(gradients).norm(dim=1) - 1) ** 2).mean()

    leaves = list(values)
    theirs = by_grad(penalty(*leaves, prune=unchanged), leaves)
    ours = by_grad(penalty(*leaves, prune=prune_zero_paths), leaves)
    assert_identical(ours, theirs)
    inner = torch.func.grad(lambda *values: penalty(*values, prune=prune_zero_paths), (0, 1))
    assert_identical(list(inner(*(v.detach() for v in leaves))), theirs[:2])


def test_per_sample_gradients_by_vmap():
    critic, x = mlp(3, 8, 8, 1), points(4, 3)
    leaves = leaves_of(critic, x)
    results = []
    for prune in (prune_zero_paths, unchanged):
        gradients = torch.func.vmap(torch.func.grad(lambda row: critic(row).sum()))(x)
        results.append(by_grad(prune(gradients).square().sum(), leaves))
    assert_identical(*results)


def test_nothing_is_kept_alive():
    """Without the garbage collector: neither hooks nor marks may form a cycle."""
    critic = mlp(3, 8, 8, 1)
    gc.collect()
    gc.disable()
    try:
        x = points(4, 3)
        gradients = prune_zero_paths(input_gradients(critic, x))
        watched = [weakref.ref(x), weakref.ref(gradients)]
        gradients.square().sum().backward()
        del x, gradients
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


def test_very_deep_graph():
    """No recursion."""
    x = points(2)
    y = x
    for _ in range(5000):
        y = y.relu()
    (gradients,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert cut_zero_paths([gradients]).count == 5000


def test_walk_is_linear_where_paths_multiply():
    """Sixty-four diamonds in a row have 2**64 paths."""
    x = points(2)
    y = x
    for _ in range(64):
        y = y.relu() + y.abs()
    (gradients,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert cut_zero_paths([gradients]).count == 128


def test_the_waste_is_gone():
    critic, x = mlp(3, 64, 64, 64, 1), points(4, 3)
    forward = flops_of(lambda: critic(x))
    theirs = flops_of(lambda: penalty_of(critic, x).backward())
    ours = flops_of(lambda: penalty_of(critic, x, prune_zero_paths).backward())
    assert theirs > 5.9 * forward
    assert ours <= 4 * forward
