"""A training step under ``torch.compile``: right, or refused by a sentence that helps."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

import wgan_fast
from tests.compilers.steps import CASES, Batch, assert_same, batch_of, expected, make_critic
from wgan_fast import fast_gradient_penalty

# PyTorch's compiler looks at .grad of copies that are not leaves, and warns of its own settings.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
traces_autograd = pytest.mark.skipif(
    torch.__version__ < "2.13",
    reason="before PyTorch 2.13, trace_autograd_ops does not record what a penalty does",
)


@pytest.fixture(autouse=True)
def _compiled_anew():
    torch._dynamo.reset()


@pytest.fixture
def traced():
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        yield


def as_lambda(net):
    return lambda x: net(x)


def loss_of(name, net, wrap, **keywords):
    """A function of the batch's tensors; a lambda is a new one at every call."""

    def loss(real, fake, epsilon):
        return CASES[name].ours(wrap(net), Batch(real, fake, epsilon), **keywords)

    return loss


def backward_inside(loss, net):
    def step(*tensors):
        value = loss(*tensors)
        value.backward()
        return value.detach()

    return step


def gradients_inside(loss, net):
    parameters = list(net.parameters())

    def step(*tensors):
        value = loss(*tensors)
        found = torch.autograd.grad(value, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        return value.detach()

    return step


def train(step, net, sizes=(8, 8)):
    """The loss and the gradients of the last of some batches."""
    for size in sizes:
        net.zero_grad()
        value = step(*batch_of(size, size))
        if value.requires_grad:
            value.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
    return value.detach(), *gradients


def assert_trains(name, net, step, sizes=(8, 8)):
    assert_same(train(step, net, sizes), expected(name, net, batch_of(sizes[-1], sizes[-1])))


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("r1_penalty_of", "path_length_penalty")]
)
def test_every_penalty_between_graphs(name):
    net = make_critic()
    step = backward_inside(loss_of(name, net, as_lambda), net)
    assert_trains(name, net, torch.compile(step, backend="aot_eager"))


@pytest.mark.parametrize("wrap", [nn.Module.train, as_lambda], ids=["module", "lambda"])
@pytest.mark.parametrize("backend", ["aot_eager"])
def test_the_loss_is_differentiated_outside(backend, wrap):
    net = make_critic()
    loss = loss_of("fast_gradient_penalty", net, wrap)

    def step(*tensors):
        return loss(*tensors) + wrap(net)(tensors[0]).mean()

    for size in (8, 8):
        net.zero_grad()
        value = torch.compile(step, backend=backend)(*batch_of(size))
        value.backward()
    ours = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    batch = batch_of(8)
    theirs = CASES["fast_gradient_penalty"].textbook(net, batch) + net(batch.real).mean()
    theirs.backward()
    assert_same((value.detach(), *ours),
                (theirs.detach(), *(p.grad for p in net.parameters())))  # fmt: skip


@pytest.mark.parametrize(
    "keywords",
    [{"chunk_size": 3}, {"backend": "reference"}],
)  # fmt: skip
def test_keywords_between_graphs(keywords):
    net = make_critic()
    loss = loss_of("r1_penalty", net, as_lambda, **keywords)

    def step(*tensors):
        value = loss(*tensors)
        value.backward()
        return value.detach()

    assert_trains("r1_penalty", net, torch.compile(step, backend="aot_eager"))


def test_finite_differences_between_graphs():
    net = make_critic()
    loss = loss_of("r1_penalty", net, as_lambda, double_backward="finite_difference")
    ours = train(torch.compile(backward_inside(loss, net), backend="aot_eager"), net)
    uncompiled = train(backward_inside(loss, net), net)
    assert_same(ours, uncompiled)


def test_a_batch_of_another_size():
    net = make_critic()
    step = backward_inside(loss_of("fast_gradient_penalty", net, as_lambda), net)
    compiled = torch.compile(step, backend="aot_eager", dynamic=True)
    assert_trains("fast_gradient_penalty", net, compiled, sizes=(8, 13, 5))


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
def test_inductor():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    step = backward_inside(loss_of("fast_gradient_penalty", net, as_lambda), net)
    assert_trains("fast_gradient_penalty", net, torch.compile(step, backend="inductor"))


def test_lazily_between_graphs():
    net, lazily = make_critic(), wgan_fast.Lazy(every=2)

    @torch.compile(backend="aot_eager")
    def step(real):
        return lazily(wgan_fast.r1_penalty, net, real) * 1.0

    values = [step(batch_of(1).real).item() for _ in range(4)]
    assert [value != 0 for value in values] == [True, False, True, False]
    assert lazily.step == 4


@pytest.mark.parametrize("name", ["fast_gradient_penalty", "critic_loss", "Lazy"])
def test_one_whole_graph_is_refused(name):
    step = loss_of(name, net := make_critic(), as_lambda)
    with pytest.raises(RuntimeError, match=r"differentiates the critic twice.*Leave out fullgraph"):
        torch.compile(backward_inside(step, net), backend="eager", fullgraph=True)(*batch_of(1))


def test_a_compiled_critic_is_refused():
    critic = torch.compile(make_critic(), backend="aot_eager")
    way = r'not currently support double backward. Take double_backward="finite_difference", or the'
    with pytest.raises(RuntimeError, match=way):
        loss_of("fast_gradient_penalty", critic, nn.Module.train)(*batch_of(1)).backward()


@pytest.mark.parametrize("weights", [{"gp": 1.0}, {"r1": 1.0}, {"gp": 1.0, "r1": 1.0, "r2": 1.0}])
def test_a_compiled_critic_of_a_whole_step_is_refused(weights):
    """Which penalty is asked first differs between releases of torch: all say the same."""
    critic, batch = torch.compile(make_critic(), backend="aot_eager"), batch_of(1)
    way = (
        r'double backward. Take .* or r1_penalty\(.*, double_backward="finite_difference"\), beside'
    )
    with pytest.raises(RuntimeError, match=way):
        wgan_fast.critic_loss(critic, batch.real, batch.fake, **weights).backward()


def test_a_compiled_critic_between_graphs():
    net = make_critic()
    critic = torch.compile(net, backend="aot_eager")
    step = backward_inside(loss_of("fast_gradient_penalty", critic, nn.Module.train), net)
    assert_trains("fast_gradient_penalty", net, torch.compile(step, backend="aot_eager"))


def test_compiled_scores_are_refused():
    step = loss_of("r1_penalty_of", make_critic(), nn.Module.train)
    with pytest.raises(RuntimeError, match=r"scores must not be computed .*take critic_loss"):
        torch.compile(step, backend="aot_eager")(*batch_of(1))


def test_compiled_images_are_refused():
    step = loss_of("path_length_penalty", make_critic(), nn.Module.train)
    with pytest.raises(RuntimeError, match=r"images must not be computed by what"):
        torch.compile(step, backend="aot_eager")(*batch_of(1))


@traces_autograd
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", [name for name in CASES if name != "Lazy"])
def test_one_whole_graph_with_its_gradients(name):
    net = make_critic()
    step = gradients_inside(loss_of(name, net, nn.Module.train), net)
    assert_trains(name, net, torch.compile(step, backend="aot_eager", fullgraph=True))


@traces_autograd
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("dynamic", [False, True])
def test_one_whole_graph_with_its_backward_pass(dynamic):
    net = make_critic()
    step = backward_inside(loss_of("fast_gradient_penalty", net, as_lambda), net)
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    assert_trains("fast_gradient_penalty", net, compiled, (8, 13) if dynamic else (8, 8))


@traces_autograd
@pytest.mark.usefixtures("traced")
def test_a_compiled_critic_in_a_whole_graph():
    net = make_critic()
    critic = torch.compile(net, backend="aot_eager")
    step = backward_inside(loss_of("critic_loss", critic, nn.Module.train), net)
    assert_trains("critic_loss", net, torch.compile(step, backend="aot_eager", fullgraph=True))


@traces_autograd
@pytest.mark.usefixtures("traced")
def test_the_loss_of_a_traced_step_is_differentiated_outside():
    net = make_critic()
    step = loss_of("fast_gradient_penalty", net, as_lambda)
    assert_trains("fast_gradient_penalty", net, torch.compile(step, backend="aot_eager"))


@traces_autograd
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "keywords", [{"chunk_size": 3}, {"double_backward": "finite_difference"}], ids=str
)
def test_what_sets_the_critic_back_is_in_no_graph(keywords):
    step = backward_inside(loss_of("r1_penalty", net := make_critic(), as_lambda, **keywords), net)
    train(torch.compile(step, backend="eager"), net)
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match="without chunk_size, finite differences"):
        torch.compile(step, backend="eager", fullgraph=True)(*batch_of(1))


@traces_autograd
@pytest.mark.usefixtures("traced")
def test_a_traced_step_draws_anew():
    net = make_critic()

    @torch.compile(backend="aot_eager", fullgraph=True)
    def step(real, fake):
        return fast_gradient_penalty(net, real, fake).detach()

    real, fake, _ = batch_of(1)
    assert step(real, fake) != step(real, fake)
