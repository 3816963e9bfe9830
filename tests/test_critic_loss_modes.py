"""The critic step under other modes of differentiation, at extreme values, and in other company."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.critics import NAMED, mlp
from tests.textbook_steps import textbook_critic_step
from wgan_fast import critic_loss
from wgan_fast.second_order import without_thresholds

STEP = {"loss": "relativistic", "r1": 1.0, "r2": 1.0}


def test_the_gradient_of_the_gradient():
    case = NAMED["dcgan"]
    theirs, critic = case.make()
    expected = textbook_critic_step(critic, *case.samples(), **STEP)[0]
    mine, critic = case.make()
    with without_thresholds():
        total, parts = critic_loss(critic, *case.samples(), **STEP, return_parts=True)
    assert set(parts.ways.values()) == {"shared backward"}
    found = []
    for module, value in ((mine, total), (theirs, expected)):
        gradients = gradients_of_all(value, module, create_graph=True)
        squares = sum((each**2).sum() for each in gradients if each is not None)
        found.append(gradients_of(squares, module))
    assert_same_gradients(*found)


def gradients_of_all(value, module, **more):
    return torch.autograd.grad(value, list(module.parameters()), allow_unused=True, **more)


def test_forward_mode():
    """The derivative of the loss along a change of the weights."""
    case = NAMED["mlp_leaky_relu_inplace"]
    tangents = []
    for step in (critic_loss, textbook_critic_step):
        module, critic = case.make()
        with forward_ad.dual_level(), without_thresholds():
            for owner in module.modules():
                for name, parameter in list(owner.named_parameters(recurse=False)):
                    del owner._parameters[name]
                    weight = parameter.detach().clone().requires_grad_()
                    setattr(owner, name, forward_ad.make_dual(weight, torch.ones_like(weight)))
            value = step(critic, *case.samples(), **STEP)
            value = value[0] if isinstance(value, tuple) else value
            tangents.append(forward_ad.unpack_dual(value).tangent.detach())
    assert_close(*tangents)


@pytest.mark.parametrize("loss", ["wasserstein", "gan", "hinge", "relativistic"])
@pytest.mark.parametrize("what", ["saturated", "no gradient"])
def test_extremes(loss, what):
    """Scores that a hinge has done with; and dead units, at a gradient norm of zero."""
    case, step = NAMED["mlp_relu"], {**STEP, "loss": loss}
    found = []
    for of in (textbook_critic_step, critic_loss):
        module, critic = case.make()
        *_, last = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
        with torch.no_grad():
            last.bias.fill_(30.0)
            if what == "no gradient":
                next(iter(module.parameters())).zero_()
        with without_thresholds():
            total = of(critic, *case.samples(), **step)
        total = total[0] if isinstance(total, tuple) else total
        found.append((total.detach(), gradients_of(total, module)))
    assert_close(found[1][0], found[0][0])
    assert_same_gradients(found[1][1], found[0][1])


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_scores_that_are_no_numbers(value):
    module = mlp(nn.ReLU)
    nn.init.constant_(module[-1].bias, value)
    with without_thresholds():
        total, parts = critic_loss(module, *torch.randn(2, 4, 5), **STEP, return_parts=True)
    assert total.isnan()
    assert all(way.startswith("shared forward: its scores are not") for way in parts.ways.values())


def test_a_critic_of_which_nothing_trains():
    net = nn.Linear(5, 1).requires_grad_(False)
    real, fake = torch.randn(2, 4, 5)
    with without_thresholds():
        critic_loss(net, real, fake, **STEP).backward()  # as the usual code, without an error
    assert net.weight.grad is None


@pytest.mark.parametrize(
    "form", [tuple, list, lambda tensors: dict(zip("ab", tensors, strict=True))]
)
def test_samples_of_several_tensors_share_as_those_of_one(form):
    vectors, rest = mlp(nn.LeakyReLU).double(), nn.Conv1d(2, 3, 3).double()

    def critic(x):
        first, second = x.values() if isinstance(x, dict) else x
        return vectors(first)[:, 0] + rest(second).relu().mean((1, 2))

    def joint_critic(x):
        return critic((x[:, :5], x[:, 5:].reshape(-1, 2, 6)))

    real, fake = torch.randn(2, 4, 17, dtype=torch.float64)
    samples = [form((x[:, :5], x[:, 5:].reshape(-1, 2, 6))) for x in (real, fake)]
    with without_thresholds():
        total, parts = critic_loss(critic, *samples, **STEP, return_parts=True)
    assert set(parts.ways.values()) == {"shared backward"}
    expected = textbook_critic_step(joint_critic, real, fake, **STEP)[0]
    wanted = [*vectors.parameters(), *rest.parameters()]
    assert_same_gradients(torch.autograd.grad(total, wanted), torch.autograd.grad(expected, wanted))


@pytest.fixture
def one_process(tmp_path):
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("this PyTorch was built without torch.distributed")
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({}, "shared backward"),
        ({"gradient_as_bucket_view": True}, "shared backward"),
        ({"find_unused_parameters": True}, "shared forward: _DDPSinkBackward is not known"),
    ],
)
def test_a_distributed_critic(one_process, options, way):
    case = NAMED["dcgan"]
    theirs, critic = case.make()
    textbook_critic_step(critic, *case.samples(), **STEP)[0].backward()
    mine, _ = case.make()
    distributed = nn.parallel.DistributedDataParallel(mine, **options)
    for _ in range(2):  # in the second step it has its buckets in order
        mine.zero_grad()
        with without_thresholds():
            total, parts = critic_loss(distributed, *case.samples(), **STEP, return_parts=True)
        total.backward()
        assert all(each.startswith(way) for each in parts.ways.values())
        assert_same_gradients(*[[p.grad for p in net.parameters()] for net in (mine, theirs)])
