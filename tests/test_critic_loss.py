"""The whole critic step against the usual code, in float64, and its passes, counted."""

import contextlib
import math

import pytest
import torch
from torch import nn

from benchmarks.flops import flops_of
from benchmarks.problems import critics as large_critics
from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.critics import CRITICS, NAMED, mlp
from tests.textbook_steps import textbook_critic_step
from wgan_fast import CriticLossParts, Penalty, critic_loss
from wgan_fast.second_order import without_thresholds

STEPS = {
    "wasserstein-gp": {"loss": "wasserstein", "gp": 10.0},
    "gan-r1": {"loss": "gan", "r1": 10.0},
    "hinge-r2": {"loss": "hinge", "r2": 3.0},
    "relativistic-r1-r2": {"loss": "relativistic", "r1": 0.5, "r2": 2.0},
    "wasserstein-all": {"loss": "wasserstein", "gp": 10.0, "r1": 1.0, "r2": 1.0},
    "gan": {"loss": "gan"},
}

#: Critics that are linear piece by piece, in a way that can be told; the others are not, or have
#: several scores for each sample, or mix samples, or hide a part of their graph.
PIECEWISE_LINEAR = {
    "linear", "mlp_relu", "mlp_leaky_relu_inplace", "mlp_relu6_hardtanh", "mlp_prelu",
    "mlp_flat_scores", "dropout_in_eval", "batch_norm_in_eval", "dcgan", "dcgan_inplace",
    "dcgan_spectral_norm", "dcgan_spectral_norm_in_eval", "dcgan_weight_norm",
    "resnet_mean_pooling", "conv_1d", "conv_3d", "max_pooling", "average_pooling",
    "adaptive_max_pooling", "adaptive_average_pooling", "padding_and_upsampling",
    "equalised_learning_rate", "projection_labels_in_kwargs", "conditional_labels_in_args",
    "weight_sharing", "frozen_but_one", "frozen_all", "unused_parameters",
    "batch_first_last", "lambda", "partial", "bound_method",
}  # fmt: skip

every_case = pytest.mark.parametrize("case", CRITICS, ids=[case.name for case in CRITICS])
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
thresholds = pytest.mark.parametrize(
    "context", [without_thresholds, contextlib.nullcontext], ids=["always", "where it pays"]
)


def usual(case, step, **more):
    module, critic = case.make()
    given = {"epsilon": case.epsilon()} if "gp" in step else {}
    total, *scores = textbook_critic_step(
        critic, *case.samples(), **step, **given, **case.arguments(), **more
    )
    return module, total, scores


def ours(case, step, **more):
    module, critic = case.make()
    given = {"epsilon": case.epsilon()} if "gp" in step else {}
    total, parts = critic_loss(
        critic, *case.samples(), **step, **given, **case.arguments(), return_parts=True, **more
    )
    return module, total, parts


@thresholds
@every_step
@every_case
def test_every_critic_and_loss(case, step, context):
    theirs, expected, scores = usual(case, step)
    with context():
        mine, total, parts = ours(case, step)
    assert_close(total, expected)
    assert_same_gradients(gradients_of(total, mine), gradients_of(expected, theirs))
    assert_close(parts.real_scores, scores[0])
    assert_close(parts.fake_scores, scores[1])
    for (name, buffer), other in zip(mine.named_buffers(), theirs.buffers(), strict=True):
        assert torch.equal(buffer, other), name


@every_case
def test_which_critics_share_the_backward_pass(case):
    with without_thresholds():
        _, _, parts = ours(case, {"loss": "wasserstein", "r1": 1.0, "r2": 1.0})
    shares = case.name in PIECEWISE_LINEAR
    for way in parts.ways.values():
        assert way.startswith("shared backward" if shares else "shared forward: "), way


# Passes.


def passes_of(step, critic, real, fake):
    """Of the loss with its backward pass, in forward passes of the critic at one batch."""
    with torch.no_grad():
        one = flops_of(lambda: critic(real))
    return flops_of(lambda: critic_loss(critic, real, fake, **step).backward()) / one


def large_mlp(activation=lambda: nn.LeakyReLU(0.2)):
    return nn.Sequential(
        nn.Linear(512, 512), activation(), nn.Linear(512, 512), activation(), nn.Linear(512, 1)
    )


LARGE = {
    "mlp": (large_mlp, (512,)),
    "dcgan": (lambda: large_critics.dcgan(32), (3, 32, 32)),
    "resnet": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), *large_critics.resnet(32)),
        (3, 32, 32),
    ),
}
SMOOTH = {
    "mlp": (lambda: large_mlp(nn.SiLU), (512,)),
    "dcgan": (lambda: large_critics.dcgan(32, norm=large_critics.layer_norm), (3, 32, 32)),
}
#: What to compute; the passes of critics that are linear piece by piece, and of others; and how
#: many of these passes, over scores alone, leave out the gradient of the first layer's input.
COUNTED = {
    "gp": ({"gp": 10.0}, 10, 12, 2),
    "r1": ({"loss": "gan", "r1": 10.0}, 7, 9, 1),
    "r1-r2": ({"loss": "relativistic", "r1": 1.0, "r2": 1.0}, 8, 12, 0),
}
every_count = pytest.mark.parametrize("counted", COUNTED.values(), ids=list(COUNTED))


def assert_passes(critic, shape, step, passes, without_input):
    real, fake = torch.randn(2, 32, *shape)
    counted = passes_of(step, critic, real, fake)
    with torch.no_grad():
        first = flops_of(lambda: critic[0](real)) / flops_of(lambda: critic(real))
    # The last layer of one score is no product for its input gradient, in some of the passes.
    assert counted == pytest.approx(passes - without_input * first, rel=1e-3)


@every_count
@pytest.mark.parametrize("large", LARGE.values(), ids=list(LARGE))
def test_the_passes_of_critics_that_are_linear_piece_by_piece(large, counted):
    build, shape = large
    step, passes, _, without_input = counted
    assert_passes(build(), shape, step, passes, without_input)


@every_count
@pytest.mark.parametrize("smooth", SMOOTH.values(), ids=list(SMOOTH))
def test_the_passes_of_other_critics(smooth, counted):
    """Where the first layer is replaced, each penalty leaves out the gradient of its input, too."""
    build, shape = smooth
    step, _, passes, without_input = counted
    penalties = len({"gp", "r1", "r2"} & set(step))
    with without_thresholds():
        assert_passes(build(), shape, step, passes, without_input + penalties)


def test_the_critic_is_called_once_for_real_fake_and_interpolates():
    calls = []
    net = mlp(nn.ReLU).double()

    def critic(x):
        calls.append(x.detach().clone())
        return net(x)

    real, fake = torch.randn(2, 4, 5, dtype=torch.float64)
    critic_loss(critic, real, fake, gp=10.0, r1=1.0, r2=1.0, epsilon=torch.ones(4))
    assert len(calls) == 3
    for seen, expected in zip(calls, (real, fake, real), strict=True):
        assert torch.equal(seen, expected)


def test_a_critic_with_state_is_trained_as_by_the_usual_code():
    """Spectral normalisation estimates in each call, dropout draws in each: twenty steps."""
    case = NAMED["dcgan_spectral_norm"]
    nets, losses = [], []
    for step in (critic_loss, lambda *a, **k: textbook_critic_step(*a, **k)[0]):
        net = nn.Sequential(nn.Dropout(0.2), case.make()[0])
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        torch.manual_seed(0)
        with without_thresholds():
            for _ in range(20):
                optimiser.zero_grad()
                loss = step(net, *case.samples(), loss="relativistic", r1=1.0, r2=1.0)
                loss.backward()
                optimiser.step()
        nets.append(net)
        losses.append(loss.detach())
    assert_close(*losses, rtol=1e-9)
    for one, other in zip(
        nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True
    ):
        assert_close(one, other, rtol=1e-9)  # Adam divides by roots of squares: 20 steps of 1e-12


# What a user can say, and what can go wrong.


def penalised(**penalty):
    """R1 of the mlp as the penalty says, and as the textbook's gradient norms say."""
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    real, fake = case.samples()
    total, parts = critic_loss(critic, real, fake, r1=Penalty(3.0, **penalty), return_parts=True)
    x = real.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return total, parts, gradients


@pytest.mark.parametrize(
    ("penalty", "textbook"),
    [
        ({}, lambda g: (g**2).sum(1)),
        ({"target": 0.5}, lambda g: (g.norm(dim=1) - 0.5) ** 2),
        ({"target": 1.0, "one_sided": True}, lambda g: torch.relu(g.norm(dim=1) - 1) ** 2),
        ({"power": 3.0}, lambda g: g.norm(dim=1) ** 3),
        ({"norm": 1}, lambda g: g.abs().sum(1) ** 2),
        ({"norm": math.inf}, lambda g: g.abs().amax(1) ** 2),
    ],
)
def test_settings_of_a_penalty(penalty, textbook):
    total, parts, gradients = penalised(**penalty)
    expected = 1.5 * textbook(gradients).mean()
    assert_close(parts.r1, expected.detach())
    assert_close(total.detach(), parts.adversarial + parts.r1)


def test_a_penalty_of_every_kth_step():
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    lazily = Penalty(2.0, every=3)
    found = [
        critic_loss(critic, *case.samples(), r1=lazily, return_parts=True)[1].r1 for _ in range(7)
    ]
    each = critic_loss(critic, *case.samples(), r1=2.0, return_parts=True)[1].r1
    for step, value in enumerate(found):
        if step % 3:
            assert value is None
        else:
            assert_close(value, 3 * each)
    resumed = Penalty(2.0, every=3)
    resumed.load_state_dict(lazily.state_dict())
    assert resumed.step == 7


def test_parts_are_detached_and_add_up():
    case = NAMED["dcgan"]
    _, critic = case.make()
    total, parts = critic_loss(
        critic, *case.samples(), loss="hinge", gp=1.0, r1=2.0, r2=3.0, return_parts=True
    )
    assert isinstance(parts, CriticLossParts)
    assert not any(part.requires_grad for part in parts if isinstance(part, torch.Tensor))
    assert_close(parts.adversarial + parts.gp + parts.r1 + parts.r2, total.detach())
    assert parts.gp_norms.shape == parts.r1_norms.shape == parts.r2_norms.shape == (case.batch,)


def test_a_weight_of_zero_calls_nothing():
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    _, parts = critic_loss(critic, *case.samples(), gp=0.0, r1=0, r2=None, return_parts=True)
    assert parts.gp is parts.r1 is parts.r2 is None
    assert parts.ways == {}


def test_a_loss_of_ones_own():
    case = NAMED["dcgan"]

    def least_squares(real, fake):
        return ((real - 1) ** 2).mean() + (fake**2).mean()

    module, critic = case.make()
    real, fake = case.samples()
    with without_thresholds():
        total = critic_loss(critic, real, fake, loss=least_squares, r1=1.0)
    x = real.clone().requires_grad_()
    scores = critic(x)
    (g,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    expected = least_squares(scores, critic(fake)) + 0.5 * (g**2).flatten(1).sum(1).mean()
    assert_close(total, expected)
    assert_same_gradients(gradients_of(total, module), gradients_of(expected, module))


def test_without_recording_there_is_the_value_alone():
    case = NAMED["dcgan"]
    _, critic = case.make()
    with torch.no_grad():
        value = critic_loss(critic, *case.samples(), r1=1.0, gp=1.0, epsilon=case.epsilon())
    assert not value.requires_grad
    assert_close(value, critic_loss(critic, *case.samples(), r1=1.0, gp=1.0,
                                    epsilon=case.epsilon()).detach())  # fmt: skip


def test_plain_leaves_everything_to_pytorch():
    case = NAMED["dcgan"]
    _, critic = case.make()
    _, parts = critic_loss(
        critic, *case.samples(), r1=1.0, double_backward="plain", return_parts=True
    )
    assert parts.ways == {"real": "shared forward: nothing is cut"}


def test_labels_get_their_gradient():
    """An embedding that is added to features, outside of the critic, and zero at first."""
    net = mlp(lambda: nn.LeakyReLU(0.2)).double()
    labels = torch.zeros(4, 16, dtype=torch.float64, requires_grad=True)

    def critic(x, labels):
        return net[1:](net[0](x) + labels)

    real, fake = torch.randn(2, 4, 5, dtype=torch.float64)
    step = {"loss": "relativistic", "r1": 1.0, "r2": 1.0, "critic_args": (labels,)}
    with without_thresholds():
        total, parts = critic_loss(critic, real, fake, return_parts=True, **step)
    assert set(parts.ways.values()) == {"shared backward"}
    expected = textbook_critic_step(critic, real, fake, **step)[0]
    wanted = [labels, *net.parameters()]
    assert_same_gradients(
        torch.autograd.grad(total, wanted, allow_unused=True),
        torch.autograd.grad(expected, wanted, allow_unused=True),
    )


def test_one_seed_mixes_alike_for_several_processes():
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    real, fake = case.samples(batch=8)
    whole = critic_loss(
        critic, real, fake, gp=1.0, generator=torch.Generator().manual_seed(3), return_parts=True
    )[1].gp_norms
    parts = [
        critic_loss(critic, real[rank:][:4], fake[rank:][:4], gp=1.0, first_sample=rank,
                    generator=torch.Generator().manual_seed(3), return_parts=True)[1].gp_norms
        for rank in (0, 4)
    ]  # fmt: skip
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "wassertein"}, ValueError, "loss must be one of 'wasserstein'"),
        ({"loss": lambda r, f: r}, ValueError, "loss must return a scalar, .* take its mean"),
        ({"loss": lambda r, f: 1.0}, TypeError, "loss must return a tensor, but it returned 1.0"),
        ({"gp": -1.0}, ValueError, "gp must be a finite number >= 0"),
        ({"r1": "10"}, TypeError, "r1 must be a number"),
        ({"double_backward": "finite_difference"}, ValueError, "double_backward must be one of"),
        ({"gp": 1.0, "first_sample": -1}, ValueError, "first_sample must be at least 0"),
        ({"gp": 1.0, "epsilon": torch.zeros(3)}, ValueError, "epsilon must hold one factor"),
        ({"epsilon": torch.zeros(7)}, ValueError, "epsilon must be None without gp"),
        ({"critic_args": 3}, TypeError, "critic_args must be a tuple"),
        ({"return_parts": 1}, TypeError, "return_parts must be True or False"),
    ],
)
def test_bad_arguments(arguments, error, message):
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    with pytest.raises(error, match=message):
        critic_loss(critic, *case.samples(), **arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"weight": -1.0}, ValueError, "weight must be"),
        ({"weight": 1.0, "every": 0}, ValueError, "every must be at least 1"),
        ({"weight": 1.0, "power": 0.5}, ValueError, "power must be"),
        ({"weight": 1.0, "norm": 3}, ValueError, "norm must be 1, 2 or math.inf"),
        ({"weight": 1.0, "target": -1}, ValueError, "target must be"),
        ({"weight": 1.0, "one_sided": 1}, TypeError, "one_sided must be True or False"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        Penalty(**settings)


def test_the_way_is_told_in_every_call():
    """Also where it is not looked for again, because it was not found a few calls ago."""
    for name, why in [("mlp_silu", "SiluBackward0 is not known to be"), ("mlp_relu", "too small")]:
        _, critic = NAMED[name].make()
        for _ in range(3):
            parts = critic_loss(critic, *NAMED[name].samples(), r1=1.0, return_parts=True)[1]
            assert why in parts.ways["real"]


def test_a_penalty_that_is_given_twice_has_its_turn_for_both():
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    both = Penalty(2.0, every=2)
    found = [
        critic_loss(critic, *case.samples(), r1=both, r2=both, return_parts=True)[1]
        for _ in range(4)
    ]
    each = critic_loss(critic, *case.samples(), r1=4.0, r2=4.0, return_parts=True)[1]
    for parts in found[::2]:
        assert_close(parts.r1, each.r1)
        assert_close(parts.r2, each.r2)
    assert all(parts.r1 is parts.r2 is None for parts in found[1::2])
    assert both.step == 4


@pytest.mark.parametrize("where", ["argument", "critic", "loss"])
def test_a_step_that_fails_is_no_step(where):
    case = NAMED["mlp_relu"]
    _, critic = case.make()
    lazily, fails = Penalty(2.0, every=2), {"r2": -1.0} if where == "argument" else {}

    def failing(*args):
        raise ValueError("it fails")

    if where == "loss":
        fails["loss"] = failing
    with pytest.raises(ValueError, match=r"it fails|r2 must be"):
        critic_loss(failing if where == "critic" else critic, *case.samples(), r1=lazily, **fails)
    assert lazily.step == 0
    assert critic_loss(critic, *case.samples(), r1=lazily, return_parts=True)[1].r1 is not None
    assert lazily.step == 1
