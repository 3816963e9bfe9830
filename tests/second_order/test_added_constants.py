"""What critics add, and in which spelling: scores that are computed from gradients, or not."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from tests.second_order.steps import BATCH, Kind, assert_kind, assert_step
from wgan_fast.second_order import _adding_functions, _linear_functions, added_constants

IMAGE = (3, 5, 5)
CHANGED = "a tensor has been changed in place"
CONSTANT_CHANGED = "a constant has been changed in place"


def unknown(node):
    return f"{node} is not known to be linear piece by piece"


# In place.


def in_place_constants(p, x):
    h = p.hidden(x) * 1
    h += p.six
    h.sub_(1.0)
    return p.scores(h.relu())


def in_place_to_a_constant(p, x):
    sums = p.six.expand(BATCH, 6).clone()
    sums += p.hidden(x)
    return p.scores(sums.relu())


def in_place_to_a_part(p, x):
    h = p.hidden(x) * 1
    h[:, :2] += 1.0
    return p.scores(h)


def in_place_to_a_view(p, x):
    view = (p.hidden(x) * 1)[:, :3]
    view += p.six[:3]
    return view.sum(1)


def unrecorded(change):
    def critic(p, x):
        h = F.linear(x, p.w1, p.b1)
        with torch.no_grad():
            change(p, h)
        return p.scores(2 * h)

    return critic


def set_a_part(p, h):
    h[:, 0] = 3.0


def detached(change):
    def critic(p, x):
        h = F.linear(x, p.w1, p.b1)
        change(h)
        return p.scores(2 * h)

    return critic


def set_data(h):
    h.data = h.data.clamp(max=0.1)


def bias_changed(p, x):
    bias = p.b4.detach().clone()
    h = F.conv2d(x, p.kernel, bias)
    bias.mul_(2)
    return h.relu().mean((1, 2, 3))


def constant_changed(p, x):
    constant = p.six.detach().clone()
    h = p.hidden(x) + constant
    constant.mul_(2)
    return p.scores(h.relu())


# Of what type.


def made_in_inference_mode(p, x):
    with torch.inference_mode():
        constant = torch.ones(6, dtype=x.dtype)
    return p.scores((p.hidden(x) + constant).relu())


def noise(p, x):
    h = p.image(x)
    return (h + p.b2 * torch.randn_like(h[:, :1])).relu().sum((1, 2, 3))


def straight_through(p, x):
    h = p.hidden(x)
    return p.scores(h + (h.round() - h).detach())


def checkpointed(p, x):
    h = checkpoint(lambda x: p.hidden(x) + p.six, x, use_reentrant=False)
    return p.scores(h.relu())


def hooked(p, x):
    h = p.hidden(x)
    h.register_hook(lambda gradient: gradient / 2)
    return p.scores(h)


def of_ones(p, x):
    return p.b1[:1].expand(len(x), 1)


CONSTANTS = {
    "linear, bias [1]": Kind(lambda p, x: F.linear(p.hidden(x), p.wide, p.b2).relu().sum(1)),
    "linear, bias [1, out]": Kind(
        lambda p, x: F.linear(p.hidden(x), p.wide, p.b4[None]).relu().sum(1)
    ),
    "linear, bias [B, out]": Kind(
        lambda p, x: F.linear(p.hidden(x), p.wide, p.square).relu().sum(1)
    ),
    "linear, weight [in]": Kind(lambda p, x: F.linear(p.hidden(x), p.six).relu()),
    "addmm": Kind(lambda p, x: torch.addmm(p.b4, p.hidden(x), p.wide.t()).relu().sum(1)),
    "addmm, beta": Kind(
        lambda p, x: torch.addmm(p.b4, p.hidden(x), p.wide.t(), beta=2).relu().sum(1),
        way=unknown("AddmmBackward0"),
    ),
    "tokens": Kind(
        lambda p, x: F.linear(p.image(x).permute(0, 2, 3, 1), p.square, p.b4).relu().sum((1, 2, 3)),
        IMAGE,
    ),
    "add, alpha": Kind(lambda p, x: p.scores(torch.add(p.hidden(x), p.six, alpha=3).relu())),
    "sub, alpha": Kind(lambda p, x: p.scores(torch.sub(p.six, p.hidden(x), alpha=3).relu())),
    "rsub, alpha": Kind(lambda p, x: p.scores(torch.rsub(p.hidden(x), p.six, alpha=2).relu())),
    "1 - x": Kind(lambda p, x: p.scores((1 - p.hidden(x)).relu())),
    "sum of a list": Kind(lambda p, x: sum([p.scores(p.hidden(x)), p.b2, p.b2 * 2])),
    "integers": Kind(lambda p, x: p.scores((p.hidden(x) + torch.arange(6)).relu())),
    "truth": Kind(lambda p, x: p.scores((p.hidden(x) + (torch.arange(6) > 2)).relu())),
    "in place": Kind(in_place_constants),
    "in place, to a constant": Kind(in_place_to_a_constant, way="AddBackward0 adds a constant of"),
    "in place, to a part": Kind(in_place_to_a_part, way=unknown("CopySlices")),
    "in place, to a view": Kind(in_place_to_a_view, way="AsStridedBackward0 adds a constant of"),
    "no_grad: add_": Kind(unrecorded(lambda p, h: h.add_(p.buffer)), way=CHANGED),
    "no_grad: a part": Kind(unrecorded(set_a_part), way=CHANGED),
    "no_grad: a view": Kind(unrecorded(lambda p, h: h.view(-1).clamp_(max=0.5)), way=CHANGED),
    "detached": Kind(detached(lambda h: h.detach().add_(1.0)), way=CHANGED),
    "data": Kind(detached(lambda h: h.data.add_(1.0)), way=CHANGED),
    "data that is set": Kind(detached(set_data), way=CHANGED),
    "bias that changes": Kind(bias_changed, IMAGE, CONSTANT_CHANGED),
    "constant that changes": Kind(constant_changed, way=CONSTANT_CHANGED),
    "cat, constant first": Kind(
        lambda p, x: p.scores(torch.cat((of_ones(p, x), x), -1).relu())
    ),
    "cat, by name": Kind(
        lambda p, x: p.scores(torch.cat(tensors=[x, of_ones(p, x)], dim=1).relu())
    ),
    "cat, integers": Kind(
        lambda p, x: p.scores(torch.cat([torch.arange(BATCH)[:, None], x], 1).relu())
    ),
    "cat, an empty tensor": Kind(
        lambda p, x: p.scores(p.hidden(torch.cat([x, x.new_empty(0)], 1))),
        way=unknown("CatBackward0"),
    ),
    "pad with a value": Kind(
        lambda p, x: p.scores(p.hidden(F.pad(x[:, :3], (1, 1), value=2.0)))
    ),
    "crop": Kind(lambda p, x: p.scores(p.hidden(F.pad(F.pad(x, (3, 3)), (-3, -3))))),
    "circular padding": Kind(
        lambda p, x: p.image(F.pad(x, (1, 1, 1, 1), mode="circular")).relu().sum((1, 2, 3)),
        IMAGE,
        unknown("CopySlices"),
    ),
    "masked_fill": Kind(
        lambda p, x: p.scores(p.hidden(x).masked_fill(torch.arange(6) > 3, 2.0).relu())
    ),
    "where": Kind(
        lambda p, x: p.scores(torch.where(p.hidden(x) > 0, p.hidden(x), p.six)),
        way=unknown("WhereBackward0"),
    ),
    "clamp": Kind(lambda p, x: p.scores(p.hidden(x).clamp(-0.3, 0.3))),
    "clamp, one side": Kind(lambda p, x: p.scores(p.hidden(x).clamp(max=0.3))),
    "clamp, tensors": Kind(
        lambda p, x: p.scores(p.hidden(x).clamp(max=p.six)), way=unknown("ClampBackward0")
    ),
    "threshold": Kind(lambda p, x: p.scores(F.threshold(p.hidden(x), 0.1, 0.7))),
    "softshrink": Kind(lambda p, x: p.scores(F.softshrink(p.hidden(x)))),
    "relu6 in place": Kind(
        lambda p, x: p.scores(F.relu6(p.hidden(x) * 1, inplace=True)), way=CONSTANT_CHANGED
    ),
    "batch norm in evaluation": Kind(
        lambda p, x: p.scores(
            F.batch_norm(p.hidden(x), p.buffer, p.buffer.abs() + 1, p.six, 2 * p.six).relu()
        )
    ),
    "inference mode": Kind(made_in_inference_mode, way=unknown("AddBackward0")),
    "sparse": Kind(
        lambda p, x: p.scores(p.hidden(x) + torch.eye(BATCH, 6, dtype=x.dtype).to_sparse()),
        way=unknown("AddBackward0"),
    ),
    "noise": Kind(noise, IMAGE),
    "alpha dropout": Kind(
        lambda p, x: p.scores(F.alpha_dropout(p.hidden(x), 0.5, True)), way=unknown("AddBackward0")
    ),
    "detached mean": Kind(lambda p, x: p.scores((p.hidden(x) + x.detach().mean()).relu())),
    "straight through": Kind(straight_through),
    "checkpointed": Kind(checkpointed),
    "hooked": Kind(hooked, way="the critic has hooks"),
    "vmap": Kind(
        lambda p, x: torch.func.vmap(lambda x: p.scores(p.hidden(x)))(x),
        way=unknown("AddBackward0"),
    ),
    "complex": Kind(
        lambda p, x: p.scores((p.hidden(x) * 1j + 1).abs()), way="AddBackward0 is computed in"
    ),
}  # fmt: skip

every_gain = pytest.mark.parametrize("gain", [1.0, 0.0], ids=["", "silent"])


@every_gain
@pytest.mark.parametrize("kind", CONSTANTS.values(), ids=list(CONSTANTS))
def test_constants(kind, gain):
    assert_kind(kind, gain)


class WithRunningMean(torch.nn.Module):
    """A buffer that is added, and that every call changes: before it is used, or afterwards."""

    def __init__(self, afterwards):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(5, 6), torch.nn.LeakyReLU(0.2), torch.nn.Linear(6, 1)
        )
        self.register_buffer("mean", torch.zeros(6))
        self.afterwards = afterwards

    def forward(self, x):
        h = self.net[0](x)
        if not self.afterwards:
            self.mean.mul_(0.9).add_(h.detach().mean(0), alpha=0.1)
        scores = self.net[1:](h + self.mean)
        if self.afterwards:
            self.mean.mul_(0.9).add_(h.detach().mean(0), alpha=0.1)
        return scores


@pytest.mark.parametrize(
    ("afterwards", "way"),
    [(False, "shared backward"), (True, f"shared forward: {CONSTANT_CHANGED} since it was added")],
)
def test_a_buffer_that_every_call_changes(afterwards, way):
    critic = WithRunningMean(afterwards).double()
    assert assert_step(critic, *torch.randn(2, 4, 5, dtype=torch.float64)) == {way}


class WithMemory(torch.nn.Module):
    """Features of one call are added in the next, and differentiated in both."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(5, 6), torch.nn.Linear(6, 1)
        self.before = None

    def forward(self, x):
        h = F.leaky_relu(self.first(x), 0.2)
        added = h if self.before is None else h + self.before
        self.before = h.mean(0)
        return self.last(added.relu())


def test_constants_that_come_from_the_call_before():
    critic = WithMemory().double()
    assert assert_step(critic, *torch.randn(2, 4, 5, dtype=torch.float64)) == {"shared backward"}


class InLowPrecision(torch.nn.Module):
    """A part under autocast, promoted by what is added."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(5, 1)
        self.shift = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x) + self.shift


def test_a_part_under_autocast():
    critic, (real, fake) = InLowPrecision(), torch.randn(2, 4, 5)
    assert assert_step(critic, real, fake) == {
        "shared forward: AddmmBackward0 is computed in torch.bfloat16"
    }


def test_a_compiled_critic_stays_in_one_piece():
    graphs = []

    def backend(module, _):
        graphs.append(module)
        return module

    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    assert_step(torch.compile(net.double(), backend=backend), *torch.randn(2, 4, 5).double())
    # The usual code compiles it once more, without what is recorded.
    assert len(graphs) <= 2


# What is wrong with the tables is found out.

PROOF = "shared forward: its scores are not what its gradients and constants come to"


def ways_of(function, shape=(5,)):
    kind = Kind(function, shape)
    return assert_step(kind.net(), *kind.samples())


def test_a_forgotten_bias_is_found_by_the_proof(monkeypatch):
    def forgets(input, weight, bias=None):
        return _adding_functions.READERS[F.conv1d](input, weight)

    monkeypatch.setitem(_adding_functions.READERS, F.conv2d, forgets)
    assert ways_of(lambda p, x: p.image(x).relu().sum((1, 2, 3)), IMAGE) == {PROOF}


def test_a_smooth_function_in_the_table_is_found_by_its_second_derivative(monkeypatch):
    atan = type(torch.ones(1, requires_grad=True).atan().grad_fn)
    monkeypatch.setitem(_linear_functions._LINEAR, atan, (0,))
    ways = ways_of(lambda p, x: p.scores(p.hidden(x).atan()))
    assert ways == {"shared forward: its second derivative is not zero"}


def test_samples_that_are_mixed_are_found_by_the_proof(monkeypatch):
    monkeypatch.setattr(added_constants, "keeps_samples_apart", lambda *_: True)
    assert ways_of(lambda p, x: p.scores(p.hidden(x)).flip(0)) == {PROOF}


def test_a_reader_that_fails_changes_nothing(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError

    monkeypatch.setitem(_adding_functions.READERS, F.linear, fails)
    ways = ways_of(lambda p, x: p.scores(p.hidden(x)))
    assert ways == {f"shared forward: {unknown('AddmmBackward0')}"}
