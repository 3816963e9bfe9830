"""frozen: a module whose parameters require no gradient for a while."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from benchmarks.flops import flops_of
from wgan_fast import fast_gradient_penalty, frozen


def networks():
    """A critic and a generator; the first weight of the critic requires no gradient."""
    critic = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    critic[0].weight.requires_grad_(False)
    return critic, nn.Sequential(nn.Linear(3, 6), nn.Tanh())


def required(*modules):
    return [p.requires_grad for module in modules for p in module.parameters()]


def test_the_generator_s_gradients_are_the_same_bits_and_the_critic_gets_none():
    critic, generator = networks()
    noise = torch.randn(16, 3)
    (-critic(generator(noise)).mean()).backward()
    expected = [p.grad for p in generator.parameters()]
    generator.zero_grad()
    critic.zero_grad()
    with frozen(critic):
        loss = -critic(generator(noise)).mean()
    loss.backward()
    for parameter, gradient in zip(generator.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_the_weight_gradients_are_not_computed(kind):
    """Forward and input gradient: two passes of the critic where PyTorch has three."""
    linear = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)]
    images = [nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 2)]
    critic = nn.Sequential(*(linear if kind == "linear" else images))
    samples = torch.randn(16, 32, requires_grad=True)

    def step():
        critic(samples).mean().backward()

    def frozen_step():
        with frozen(critic):
            step()

    forward = flops_of(lambda: critic(samples))
    assert flops_of(step) == 3 * forward
    assert flops_of(frozen_step) == 2 * forward


def test_only_what_required_a_gradient_requires_one_again():
    critic, generator = networks()
    before = required(critic, generator)
    assert before == [False, True, True, True, True, True]
    with frozen(critic):
        assert required(critic, generator) == [False] * 4 + [True] * 2
    assert required(critic, generator) == before
    with frozen(critic, generator):
        assert not any(required(critic, generator))
    assert required(critic, generator) == before


def test_an_error_restores_everything():
    critic, generator = networks()
    before = required(critic, generator)
    with pytest.raises(ZeroDivisionError), frozen(critic, generator):
        _ = 1 / 0
    assert required(critic, generator) == before


def test_contexts_can_be_nested_and_parameters_shared():
    critic, generator = networks()
    generator.append(critic[0])
    before = required(critic, generator)
    with frozen(critic):
        with frozen(critic, generator), frozen(critic[2]):
            assert not any(required(critic, generator))
        assert not any(required(critic))
        assert required(generator[0]) == [True, True]
    assert required(critic, generator) == before


def test_it_serves_as_a_decorator():
    critic, _ = networks()
    before = required(critic)

    @frozen(critic)
    def inside():
        return required(critic)

    for _ in range(2):
        assert inside() == [False] * 4
        assert required(critic) == before


def test_the_critic_s_next_step_is_as_ever():
    """Also its penalty, whose decisions are remembered from call to call."""
    critic, generator = networks()
    other = copy.deepcopy(critic)
    real, fake = torch.randn(2, 16, 6)
    given = {"epsilon": torch.rand(16), "lambda_gp": 1.0}
    for _ in range(2):
        with frozen(critic):
            loss = critic(generator(torch.randn(16, 3))).mean()
            loss = loss + fast_gradient_penalty(critic, real, fake, **given)
        loss.backward()
        critic.zero_grad()
        for module in (critic, other):
            module.zero_grad()
            fast_gradient_penalty(module, real, fake, **given).backward()
        for ours, theirs in zip(critic.parameters(), other.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            assert ours.grad is None or torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_are_computed_again_while_it_is_frozen(use_reentrant):
    critic, _ = networks()
    samples = torch.randn(4, 6, requires_grad=True)
    with frozen(critic):
        checkpoint(critic, samples, use_reentrant=use_reentrant).sum().backward()
    assert samples.grad.any()
    assert all(p.grad is None for p in critic.parameters())


def test_a_loss_from_outside_loses_its_gradients_inside():
    """PyTorch's own rule, which the docstring warns of."""
    critic, _ = networks()
    loss = critic(torch.randn(4, 6)).sum()
    with frozen(critic):
        loss.backward()
    assert all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("call", ["the wrapper", "its module"])
def test_distributed_data_parallel_goes_on_reducing(call, tmp_path):
    """The reducer's hooks are still there when the parameters require a gradient again."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        critic, generator = nn.Linear(6, 1), nn.Linear(3, 6)
        wrapper = DistributedDataParallel(critic)
        reduced = []
        wrapper.register_comm_hook(reduced, _count_buckets)
        called = wrapper if call == "the wrapper" else critic
        for step in range(3):
            critic.zero_grad()
            wrapper(torch.ones(4, 6)).sum().backward()
            assert critic.weight.grad.eq(4).all()
            assert len(reduced) == step + 1
            with frozen(wrapper):
                loss = called(generator(torch.ones(4, 3))).sum()
            loss.backward()
            assert critic.weight.grad.eq(4).all()
            assert len(reduced) == step + 1
    finally:
        dist.destroy_process_group()


def _count_buckets(reduced, bucket):
    reduced.append(bucket.index())
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


def test_says_what_is_wrong():
    critic, _ = networks()
    before = required(critic)
    with pytest.raises(TypeError, match="frozen needs a module, such as the critic, but"), frozen():
        pass
    message = r"frozen takes torch.nn.Modules, but it was given 3; if a function calls the critic"
    with pytest.raises(TypeError, match=message), frozen(critic, 3):
        pass
    assert required(critic) == before
