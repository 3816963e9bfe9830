"""The gradients of a captured loss reach what it depends on, as those of the loss itself."""

import copy
import threading

import pytest
import torch
from torch import nn

from tests.captured import training
from tests.captured.training import assert_equal, replayed, samples
from tests.comparing import assert_close


def twins():
    torch.manual_seed(0)
    critic = training.mlp().double()
    return critic, copy.deepcopy(critic)


def gradients(module):
    return [p.grad for p in module.parameters()]


def assert_all_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


def run_both(use, assert_equal=assert_equal):
    """What ``use(critic, loss, real, fake)`` does to the gradients of a critic and of its twin."""
    results = []
    for critic, capture in zip(twins(), (replayed, lambda loss: loss), strict=True):
        torch.manual_seed(1)
        loss = capture(training.gradient_penalty(critic))
        for step in range(3):
            use(critic, loss, *samples((8, 5), seed=step))
        results.append([g.clone() for g in gradients(critic)])
    assert_equal(*results)


def test_they_accumulate():
    run_both(lambda critic, loss, real, fake: loss(real, fake).backward())


def test_two_losses_are_differentiated_together():
    def use(critic, loss, real, fake):
        (loss(real, fake) + 2 * loss(fake, real) + critic(real).mean()).backward()

    run_both(use, assert_equal=assert_all_close)  # it is scaled and added up in another order


def test_they_are_scaled():
    def use(critic, loss, real, fake):
        critic.zero_grad()
        optimiser = torch.optim.SGD(critic.parameters(), 1e-2)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(loss(real, fake)).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(critic.parameters(), 0.5)
        scaler.step(optimiser)
        scaler.update()

    run_both(use)


def test_hooks_of_leaves_are_called_once_with_the_whole_gradient():
    seen = []

    def hook(gradient):
        seen.append(gradient.clone())
        return 3 * gradient

    def use(critic, loss, real, fake):
        handle = critic[0].weight.register_hook(hook)
        loss(real, fake).backward()
        handle.remove()

    run_both(use)
    assert len(seen) == 6
    assert_equal(seen[:3], seen[3:])


def test_hooks_that_were_there_before():
    def use(critic, loss, real, fake):
        if not hasattr(critic, "hooked"):
            critic.hooked = True
            critic[0].weight.register_hook(lambda gradient: 3 * gradient)
        loss(real, fake).backward()

    run_both(use)


class AnotherPass(torch.autograd.Function):
    """While it is differentiated, another thread differentiates something else."""

    @staticmethod
    def forward(ctx, x, other):
        ctx.other = other
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        thread = threading.Thread(target=ctx.other)
        thread.start()
        thread.join()
        return gradient, None


def test_hooks_are_called_in_the_passes_of_other_threads():
    weight, called = torch.ones(2, requires_grad=True), []
    weight.register_hook(lambda gradient: called.append(gradient[0].item()))

    def other():
        torch.autograd.grad((7 * weight).sum(), weight)

    loss = replayed(lambda x: AnotherPass.apply((weight * x).sum(), other))
    loss(torch.ones(2)).backward()
    assert called == [7, 7, 7, 1]  # it runs once, and is recorded twice
    loss(torch.ones(2)).backward()
    assert called[4:] == [1]


def test_a_hook_that_is_removed_while_a_function_is_captured_does_not_come_back():
    weight, called = torch.ones(2, requires_grad=True), []
    weight.register_hook(lambda gradient: called.append("kept"))
    handle = weight.register_hook(lambda gradient: called.append("removed"))
    loss = replayed(lambda x: AnotherPass.apply((weight * x).sum(), handle.remove))
    for _ in range(2):
        loss(torch.ones(2)).backward()
    assert called == ["kept", "kept"]


def test_a_hook_of_a_loss_that_is_a_leaf():
    weight, called = torch.ones((), requires_grad=True), []
    weight.register_hook(lambda gradient: called.append(gradient.item()))
    loss = replayed(lambda: weight)
    for _ in range(2):
        loss().backward()
    assert called == [1, 1]
    assert weight.grad == 2


def test_hooks_after_accumulation_are_called():
    """An optimiser in the backward pass."""

    def use(critic, loss, real, fake):
        handles = [p.register_post_accumulate_grad_hook(descend) for p in critic.parameters()]
        loss(real, fake).backward()
        for handle in handles:
            handle.remove()

    def descend(parameter):
        with torch.no_grad():
            parameter -= 0.01 * parameter.grad

    run_both(use)


def test_leaves_that_are_not_reached_have_none():
    critic, _ = twins()
    other = nn.Linear(2, 2)
    loss = replayed(lambda x: critic[0](x).mean() + 0 * other.weight.detach().sum())
    for _ in range(3):
        loss(samples((8, 5))[0]).backward()
    assert critic[0].weight.grad is not None
    assert [p.grad for p in (*critic[2].parameters(), *other.parameters())] == [None] * 4


def test_arguments_get_theirs_leaves_or_not():
    results = []
    for capture in (replayed, lambda loss: loss):
        torch.manual_seed(0)
        critic, generator = training.mlp().double(), nn.Linear(3, 5).double()
        real = samples((8, 5))[0].requires_grad_()
        loss = capture(training.r1(critic))
        for step in range(3):
            z = samples((8, 3), seed=step)[0]
            fake = generator(z)
            fake.retain_grad()
            fake.register_hook(lambda gradient: 2 * gradient)
            loss(real, fake).backward()
        results.append([*gradients(critic), *gradients(generator), fake.grad])
    assert_equal(*results)


def test_an_argument_may_be_a_parameter_or_another_argument():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = replayed(lambda x, y: (weight * x * y).sum())
    twice = replayed(lambda x, y: (x * y).sum() if x is not y else 5 * x.sum())
    for _ in range(3):
        weight.grad = None
        loss(weight, torch.ones(2)).backward()
        assert torch.equal(weight.grad, 2 * weight)
        weight.grad = None
        loss(weight, weight).backward()
        assert torch.equal(weight.grad, 3 * weight**2)
        assert twice(weight, weight) == 15
        assert twice(weight, torch.ones(2)) == 3


def test_the_same_graph_is_differentiated_once_or_kept():
    critic, _ = twins()
    loss = replayed(training.gradient_penalty(critic))
    for _ in range(2):
        value = loss(*samples((8, 5)))
        value.backward(retain_graph=True)
        value.backward()
        with pytest.raises(RuntimeError, match="second time"):
            value.backward()


def test_gradients_cannot_be_differentiated_again():
    critic, _ = twins()
    loss = replayed(training.gradient_penalty(critic))
    for _ in range(2):
        value = loss(*samples((8, 5)))
        gradient, *_ = torch.autograd.grad(value, list(critic.parameters()), create_graph=True)
        with pytest.raises(RuntimeError, match=r"only once.*\.eager"):
            gradient.sum().backward()


def test_a_loss_of_which_nothing_is_trained_has_no_gradient():
    loss = replayed(lambda x: x.mean())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not require grad"):
            loss(torch.ones(3)).backward()


def test_the_loss_may_be_an_argument_or_constant():
    x, weight = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    same, constant = replayed(lambda x: x), replayed(lambda x: weight)
    for _ in range(3):
        x.grad = weight.grad = None
        (2 * same(x)).backward()
        (5 * constant(x)).backward()
        assert (x.grad, weight.grad) == (2, 5)


def test_what_is_logged_is_not_the_graphs_own():
    ones = replayed(lambda x: (x.sum(), torch.ones(2)))
    for _ in range(3):
        _, logged = ones(torch.ones(2))
        logged += 1
        assert torch.equal(logged, torch.full((2,), 2.0))


def test_sparse_gradients():
    results = []
    for capture in (replayed, lambda loss: loss):
        torch.manual_seed(0)
        table = nn.Embedding(5, 3, sparse=True)
        loss = capture(lambda i, table=table: table(i).square().sum())
        for _ in range(3):
            loss(torch.tensor([1, 1, 4])).backward()
        results.append([table.weight.grad.coalesce().to_dense()])
    assert_equal(*results)
