"""Penalties of scores that a loop has computed already, against the usual code, in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.flops import flops_of
from benchmarks.problems import critics as large_critics
from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.critics import CRITICS, NAMED, mlp
from tests.textbook_several import NORMS
from wgan_fast import gradient_penalty_of, r1_penalty_of

every_case = pytest.mark.parametrize("case", CRITICS, ids=[case.name for case in CRITICS])
pruned_or_plain = pytest.mark.parametrize("double_backward", ["pruned", "plain"])


def scored(case):
    """The module, its input, and its scores of it."""
    module, critic = case.make()
    x = case.samples()[0].requires_grad_()
    arguments = case.arguments()
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no double backward
        scores = critic(x, *arguments.get("critic_args", ()), **arguments.get("critic_kwargs", {}))
    return module, x, scores


def usual_norms(scores, inputs, norm=2):
    gradients = torch.autograd.grad(
        scores, inputs, torch.ones_like(scores), create_graph=True, retain_graph=True
    )
    return NORMS[norm](gradients)


def loss_of(scores):
    return torch.nn.functional.softplus(-scores).mean()


@pruned_or_plain
@every_case
def test_one_backward_call(case, double_backward):
    theirs, x, scores = scored(case)
    expected = loss_of(scores) + 10 * ((usual_norms(scores, [x]) - 1) ** 2).mean()
    mine, x, scores = scored(case)
    total = loss_of(scores) + gradient_penalty_of(scores, x, double_backward=double_backward)
    assert_close(total, expected)
    assert_same_gradients(gradients_of(total, mine), gradients_of(expected, theirs))


@pruned_or_plain
@every_case
def test_two_backward_calls(case, double_backward):
    """First that of the loss, which has to keep the graph, then that of the penalty."""
    theirs, x, scores = scored(case)
    expected = loss_of(scores), 1.5 * (usual_norms(scores, [x]) ** 2).mean()
    mine, x, scores = scored(case)
    loss = loss_of(scores)
    penalty = r1_penalty_of(scores, x, gamma=3.0, double_backward=double_backward)
    assert_close(penalty, expected[1])
    for first, second in ((loss, penalty), expected):
        first.backward(retain_graph=True)
        if second.requires_grad:
            second.backward()
    wanted = [[p.grad for p in module.parameters()] for module in (mine, theirs)]
    assert_same_gradients(*wanted)


# Options.


@pytest.mark.parametrize("backend", ["auto", "pytorch", "reference"])
@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({}, lambda n: 10 * ((n - 1) ** 2).mean()),
        ({"lambda_gp": 0.0}, lambda n: 0 * n.mean()),
        ({"lambda_gp": 3.0, "target": 0.5}, lambda n: 3 * ((n - 0.5) ** 2).mean()),
        ({"one_sided": True}, lambda n: 10 * (torch.relu(n - 1) ** 2).mean()),
        ({"power": 3.0}, lambda n: 10 * ((n - 1).abs() ** 3).mean()),
        ({"reduction": "sum"}, lambda n: 10 * ((n - 1) ** 2).sum()),
        ({"reduction": "max"}, lambda n: 10 * ((n - 1) ** 2).max()),
        ({"reduction": "none"}, lambda n: 10 * (n - 1) ** 2),
    ],
)
@pytest.mark.parametrize("norm", [2, 1, math.inf])
def test_options(options, cost, norm, backend):
    case = NAMED["dcgan"]
    theirs, x, scores = scored(case)
    norms = usual_norms(scores, [x], norm)
    expected = cost(norms)
    mine, x, scores = scored(case)
    penalty, found = gradient_penalty_of(
        scores, x, norm=norm, backend=backend, return_norms=True, **options
    )
    assert_close(penalty, expected)
    assert_close(found, norms.detach())
    assert not found.requires_grad
    assert_same_gradients(gradients_of(penalty, mine), gradients_of(expected, theirs))


def test_options_of_r1():
    _, x, scores = scored(NAMED["dcgan"])
    norms = usual_norms(scores, [x]).detach()
    penalty, found = r1_penalty_of(scores, x, gamma=4.0, reduction="none", return_norms=True)
    assert_close(penalty.detach(), 2 * norms**2)
    assert_close(found, norms)


def test_float32_gives_float32():
    module = mlp(nn.ReLU)
    x = torch.randn(4, 5, requires_grad=True)
    penalty, norms = gradient_penalty_of(module(x), x, return_norms=True)
    assert penalty.dtype == norms.dtype == torch.float32


# Several inputs.


class OfTwo(nn.Module):
    """Scores of vectors ``[B, 5]`` and sequences ``[B, 2, 6]``, and of something that is unused."""

    def __init__(self):
        super().__init__()
        self.vectors, self.sequences = mlp(nn.LeakyReLU), nn.Conv1d(2, 3, 3)

    def forward(self, x):
        vectors, sequences, *_ = x.values() if isinstance(x, dict) else x
        return self.vectors(vectors)[:, 0] + self.sequences(sequences).relu().mean((1, 2))


FORMS = {
    "tuple": tuple,
    "list": list,
    "dict": lambda tensors: dict(zip(("vectors", "sequences", "unused"), tensors, strict=True)),
}


@pruned_or_plain
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("norm", [2, 1, math.inf])
def test_several_inputs(form, norm, double_backward):
    module = OfTwo().double()
    tensors = [
        torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
        for shape in ((5,), (2, 6), (3,))
    ]
    scores = module(form(tensors))
    penalty, norms = gradient_penalty_of(
        scores, form(tensors), norm=norm, return_norms=True, double_backward=double_backward
    )
    expected = usual_norms(module(tensors), tensors[:2], norm)
    assert_close(norms, expected.detach())
    expected = 10 * ((expected - 1) ** 2).mean()
    assert_close(penalty, expected)
    assert_same_gradients(gradients_of(penalty, module), gradients_of(expected, module))


# How it is computed.


def test_no_call_of_the_critic():
    module, calls = mlp(nn.ReLU), []
    module.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(4, 5, requires_grad=True)
    scores = module(x)
    gradient_penalty_of(scores, x).backward(retain_graph=True)
    r1_penalty_of(scores, x).backward()
    assert len(calls) == 1


def test_a_hook_of_the_critic_is_called_with_zeros_by_plain():
    net, x = good()
    hidden, seen = net[0](x), []
    hidden.register_hook(seen.append)
    scores = net[1:](hidden)
    for double_backward in ("plain", "pruned"):
        penalty = gradient_penalty_of(scores, x, double_backward=double_backward)
        seen.clear()  # of the gradient that the penalty is of
        penalty.backward(retain_graph=True)
        assert [each is None for each in seen] == [double_backward == "pruned"]


def test_inputs_need_not_be_leaves():
    """Interpolates that depend on something else, as those of a generator's step."""
    module = mlp(nn.Tanh).double()
    z = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    x = z.sin()
    scores = module(x)
    ours = torch.autograd.grad(gradient_penalty_of(scores, x, target=0.0), z, retain_graph=True)
    theirs = torch.autograd.grad(10 * (usual_norms(scores, [x]) ** 2).mean(), z)
    assert_close(*ours, *theirs)


def test_without_recording_there_is_the_value_alone():
    _, x, scores = scored(NAMED["dcgan"])
    expected = gradient_penalty_of(scores, x).detach()
    with torch.no_grad():
        penalty = gradient_penalty_of(scores, x)
    assert not penalty.requires_grad
    assert_close(penalty, expected)


def test_the_gradient_of_the_gradient():
    theirs, x, scores = scored(NAMED["mlp_leaky_relu_inplace"])
    expected = gradients_of_gradients((usual_norms(scores, [x]) ** 4).mean(), theirs)
    mine, x, scores = scored(NAMED["mlp_leaky_relu_inplace"])
    penalty = gradient_penalty_of(scores, x, lambda_gp=1.0, target=0.0, power=4.0)
    assert_same_gradients(gradients_of_gradients(penalty, mine), expected)


def gradients_of_gradients(penalty, module):
    wanted = list(module.parameters())
    first = torch.autograd.grad(penalty, wanted, create_graph=True, allow_unused=True)
    squares = sum((each**2).sum() for each in first if each is not None)
    return gradients_of(squares, module)


LARGE = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(512, 512), nn.LeakyReLU(0.2), nn.Linear(512, 512), nn.LeakyReLU(0.2),
            nn.Linear(512, 1),
        ),
        (512,),
    ),
    "dcgan": (lambda: large_critics.dcgan(32), (3, 32, 32)),
}  # fmt: skip


@pytest.mark.parametrize(("double_backward", "passes"), [("pruned", 9), ("plain", 11)])
@pytest.mark.parametrize("large", LARGE.values(), ids=list(LARGE))
def test_the_passes_of_two_backward_calls(large, double_backward, passes):
    """A step of GAN_stability: the loss of real samples, R1, and the loss of generated samples."""
    build, shape = large
    critic = build()
    real, fake = torch.randn(2, 32, *shape)
    real.requires_grad_()

    def step():
        scores = critic(real)
        loss_of(scores).backward(retain_graph=True)
        r1_penalty_of(scores, real, double_backward=double_backward).backward()
        loss_of(-critic(fake)).backward()

    with torch.no_grad():
        one = flops_of(lambda: critic(fake))
        first = flops_of(lambda: critic[0](fake)) / one
    # Nobody asks for the gradient of the generated samples.
    assert flops_of(step) / one == pytest.approx(passes - first, rel=1e-2)


# What can go wrong.


def good():
    net = mlp(nn.ReLU)
    x = torch.randn(4, 5, requires_grad=True)
    return net, x


@pytest.mark.parametrize("penalty", [gradient_penalty_of, r1_penalty_of])
def test_scores_that_are_not_those_of_the_input(penalty):
    net, x = good()
    scores = net(x)
    name = "inputs" if penalty is gradient_penalty_of else "real"
    with pytest.raises(ValueError, match=rf"scores must be computed from {name}, .* not a copy"):
        penalty(scores, x.detach().clone().requires_grad_())
    with pytest.raises(ValueError, match=f"{name} must require a gradient, from before"):
        penalty(net(x.detach()), x.detach())
    with pytest.raises(ValueError, match="scores must have a graph"):
        penalty(scores.detach(), x)
    with torch.no_grad(), pytest.raises(ValueError, match="were they computed under"):
        penalty(net(x), x)
    with pytest.raises(ValueError, match=r"each of the 4 samples, .* do not average"):
        penalty(scores.mean(), x)
    with pytest.raises(TypeError, match="scores must be"):
        penalty(scores.tolist(), x)
    with pytest.raises(TypeError, match="scores must"):
        penalty((scores > 0).long(), x)


def test_several_inputs_are_named():
    net, x = good()
    frozen = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"inputs\['labels'\] must require a gradient"):
        gradient_penalty_of(net(x), {"x": x, "labels": frozen})
    with pytest.raises(ValueError, match=r"must have the batch of"):
        gradient_penalty_of(net(x), (x, torch.randn(3, 3, requires_grad=True)))
    with pytest.raises(TypeError, match="inputs"):
        gradient_penalty_of(net(x), torch.arange(4))


def test_a_graph_that_was_freed():
    net, x = good()
    scores = net(x)
    loss_of(scores).backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        gradient_penalty_of(scores, x)


class Detaching(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient.detach()


def test_a_gradient_that_has_lost_its_graph():
    net, x = good()
    with pytest.raises(RuntimeError, match="the penalty would train nothing"):
        gradient_penalty_of(net(Detaching.apply(x)), x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lambda_gp": -1.0}, ValueError, "lambda_gp must be a finite number >= 0"),
        ({"lambda_gp": "10"}, TypeError, "lambda_gp must be a number"),
        ({"target": -1.0}, ValueError, "target must be"),
        ({"power": 0.5}, ValueError, "power must be"),
        ({"one_sided": 1}, TypeError, "one_sided must be True or False"),
        ({"norm": 3}, ValueError, "norm must be 1, 2 or math.inf"),
        ({"reduction": "median"}, ValueError, "reduction must be one of"),
        ({"backend": "gpu"}, ValueError, "backend must be one of"),
        ({"double_backward": "finite_difference"}, ValueError, "double_backward must be one of"),
        ({"return_norms": 1}, TypeError, "return_norms must be True or False"),
        ({"chunk_size": 2}, TypeError, "unexpected keyword argument 'chunk_size'"),
        ({"gamma": 2.0}, TypeError, "unexpected keyword argument 'gamma'"),
    ],
)
def test_bad_arguments(arguments, error, message):
    net, x = good()
    with pytest.raises(error, match=message):
        gradient_penalty_of(net(x), x, **arguments)


def test_bad_weight_of_r1():
    net, x = good()
    with pytest.raises(ValueError, match="gamma must be a finite number >= 0"):
        r1_penalty_of(net(x), x, gamma=-1.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'target'"):
        r1_penalty_of(net(x), x, target=1.0)
