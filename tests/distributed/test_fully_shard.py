"""``fully_shard``: two processes train as one does, whatever is kept gathered, in any order."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from benchmarks.flops import flops_of
from tests.comparing import assert_close
from wgan_fast import captured, fast_gradient_penalty, max_gradient_penalty
from wgan_fast.second_order import without_thresholds

from .training import (
    BY_DIFFERENCES,
    CLOSE,
    CRITICS,
    EVERY_ORDER,
    ORDERS,
    STEPS,
    assert_as_in_one_process,
    critic_of,
    my_rows,
    samples,
    trained_here,
)

LAYERS = (nn.Linear, nn.Conv2d, nn.InstanceNorm2d, nn.GroupNorm)


def sharded(critic, *, by_layer, keep=False, **options):
    """The critic, sharded as a whole or layer by layer; with its weights kept after a backward
    pass, which FSDP is usually told for a double backward."""
    if by_layer:
        for part in critic.modules():
            if isinstance(part, LAYERS) and list(part.parameters()):
                fully_shard(part, **options)
    fully_shard(critic, **options)
    if keep:
        critic.set_reshard_after_backward(False)
    return critic


def reshard(critic):
    for part in critic.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def trained_sharded(kind, order, by_layer, keep=False, penalty=fast_gradient_penalty, threads=1):
    torch.set_num_threads(threads)
    critic = sharded(critic_of(kind), by_layer=by_layer, keep=keep)
    before_step = partial(reshard, critic) if keep else lambda: None
    return trained_here(critic, kind, order, penalty, before_step=before_step)


by_layer = pytest.mark.parametrize("by_layer", [False, True], ids=["root", "layers"])


@by_layer
@pytest.mark.parametrize("keep", [False, True], ids=["resharded", "kept"])
@pytest.mark.parametrize("order", EVERY_ORDER)
def test_every_order(pair, order, by_layer, keep):
    results = pair.run(trained_sharded, "piecewise linear", order, by_layer, keep)
    assert_as_in_one_process(results, "piecewise linear", order)


@by_layer
@pytest.mark.parametrize("kind", CRITICS)
@pytest.mark.parametrize("order", ["penalty last", "penalty first"])
def test_every_critic(pair, kind, order, by_layer):
    assert_as_in_one_process(pair.run(trained_sharded, kind, order, by_layer), kind, order)


@by_layer
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("keep", [False, True], ids=["resharded", "kept"])
def test_in_slices(pair, order, by_layer, keep):
    penalty = partial(fast_gradient_penalty, chunk_size=3)
    results = pair.run(trained_sharded, "piecewise linear", order, by_layer, keep, penalty)
    assert_as_in_one_process(results, "piecewise linear", order)


@by_layer
def test_two_threads(pair, by_layer):
    results = pair.run(
        trained_sharded, "convolutions", "penalty last", by_layer, False, fast_gradient_penalty, 2
    )
    assert_as_in_one_process(results, "convolutions", "penalty last")


class Cast(nn.Module):
    """What mixed precision makes of a critic: weights and samples in single precision."""

    def __init__(self, critic):
        super().__init__()
        self.critic = critic
        self.weights = {}

    def begin(self):
        """The cast happens once for all calls before a backward pass."""
        self.weights = {name: p.float() for name, p in self.critic.named_parameters()}

    def forward(self, x):
        return torch.func.functional_call(self.critic, self.weights, x.float())


def in_mixed_precision(order, by_layer):
    kind = "piecewise linear"
    policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float64)
    critic = sharded(critic_of(kind), by_layer=by_layer, mp_policy=policy)
    ours = trained_here(critic, kind, order)
    alone = Cast(critic_of(kind))

    def differentiate(loss, *batch):  # as each process does, with the mean of the gradients
        for part in zip(*(x.chunk(2) for x in batch), strict=True):
            alone.begin()
            (loss(*part) / 2).backward()

    theirs = trained_here(alone, kind, order, rows=slice(None), differentiate=differentiate)
    return [(a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)]


@by_layer
@pytest.mark.parametrize("order", EVERY_ORDER)
def test_mixed_precision(pair, order, by_layer):
    # Gradients are rounded to single precision, and releases of torch add them up in another order;
    # a step of Adam is the learning rate, 1e-2, times a quotient of such gradients.
    rounding = STEPS * 1e-2 * torch.finfo(torch.float32).eps
    for differences in pair.run(in_mixed_precision, order, by_layer):
        assert max(differences) < rounding


def by_finite_differences(by_layer, chunk_size):
    """The weights after training, and those of the same in one process."""
    kind = "smooth"
    penalty = partial(BY_DIFFERENCES, chunk_size=chunk_size)
    ours = trained_here(sharded(critic_of(kind), by_layer=by_layer), kind, "penalty first", penalty)
    return ours, trained_here(critic_of(kind), kind, "penalty first", penalty, slice(None))


@by_layer
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_finite_differences(pair, by_layer, chunk_size):
    for results in pair.run(by_finite_differences, by_layer, chunk_size):
        for ours, theirs in zip(*results, strict=True):
            assert_close(ours, theirs, CLOSE)


def computing_again():
    critic = sharded(critic_of("smooth"), by_layer=True)
    real, fake, _ = samples("smooth", 0, my_rows())
    for penalty, keywords in (
        (fast_gradient_penalty, {"reduction": "none"}),
        (max_gradient_penalty, {}),
    ):
        with pytest.raises(ValueError, match=r"chunk_size must be None.*fully_shard"):
            penalty(critic, real, fake, chunk_size=3, **keywords)
        with torch.no_grad():
            penalty(critic, real, fake, chunk_size=3, **keywords)
    return True


def test_nothing_is_computed_again_in_the_backward_pass(pair):
    assert pair.run(computing_again) == [True, True]


def multiplications(by_layer, hooked):
    """Of the second penalty with its backward pass: pruned, and plain; without FSDP first."""
    kind = "piecewise linear"
    counts = []
    for critic in (critic_of(kind), sharded(critic_of(kind), by_layer=by_layer)):
        if hooked:
            critic[0].register_forward_hook(lambda _, args, out: out.register_hook(_leave) and None)
        for double_backward in ("pruned", "plain"):

            def penalise(critic=critic, double_backward=double_backward):
                batch = samples(kind, 0, my_rows())[:2]
                penalty = fast_gradient_penalty(critic, *batch, double_backward=double_backward)
                penalty.backward()

            with without_thresholds():
                penalise()
                counts.append(flops_of(penalise))
    return counts


def _leave(grad):
    assert grad is not None


@by_layer
def test_zero_paths_are_cut(pair, by_layer):
    for pruned, plain, *of_sharded in pair.run(multiplications, by_layer, False):
        assert pruned < plain
        assert of_sharded == [pruned, plain]


@by_layer
def test_with_a_hook_of_its_own_nothing_is_cut(pair, by_layer):
    """Not even the zeros, which go through the last layer besides."""
    for _, plain, *of_sharded in pair.run(multiplications, by_layer, True):
        assert plain < min(of_sharded) == max(of_sharded) < 1.02 * plain


HIDDEN = []


def by_a_function():
    """Its module is seen where it closes over it; otherwise it has to be named."""
    kind = "piecewise linear"
    critic = sharded(critic_of(kind), by_layer=True)
    HIDDEN[:] = [critic]
    batch = samples(kind, 0, my_rows())[:2]
    with pytest.raises(ValueError, match=r"module must be given.*fully_shard"):
        fast_gradient_penalty(lambda x: HIDDEN[0](x), *batch)
    other = nn.Identity()
    with pytest.raises(ValueError, match=r"module must be given.*fully_shard"):
        fast_gradient_penalty(lambda x: HIDDEN[0](other(x)), *batch)
    fast_gradient_penalty(lambda x: HIDDEN[0](x), *batch, module=critic)

    augment = nn.Identity()  # which comes before critic in the order of the alphabet

    def penalty(_, *batch, **keywords):
        return fast_gradient_penalty(lambda x: critic(augment(x)), *batch, **keywords)

    return trained_here(critic, kind, "penalty first", penalty)


def test_a_function_that_calls_a_sharded_module(pair):
    results = pair.run(by_a_function)
    assert_as_in_one_process(results, "piecewise linear", "penalty first")


def captured_while_sharded(by_layer):
    """Refused; where it runs eagerly instead, no gradient of an argument is lost unnoticed."""
    critic = sharded(critic_of("piecewise linear"), by_layer=by_layer)
    real = samples("piecewise linear", 0, my_rows())[0]

    def loss(x):
        return critic(x).mean()

    with pytest.raises(RuntimeError, match="a module is sharded by FSDP"):
        captured(loss, executor="replay")(real)
    eagerly = captured(loss, executor="replay", fallback=True)
    with pytest.raises(RuntimeError, match="sharded by FSDP, and an argument requires a gradient"):
        eagerly(real.clone().requires_grad_())
    with pytest.warns(UserWarning, match="runs eagerly"):
        eagerly(real).backward()
    assert all(weight.grad is not None for weight in critic.parameters())


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_sharded_module_is_not_captured(pair, by_layer):
    pair.run(captured_while_sharded, by_layer)
