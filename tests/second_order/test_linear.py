"""Linear layers by oneDNN: as PyTorch has them, to any order, and only where they are replaced."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.flops import FlopCounter
from tests.second_order.twice import assert_exact, by_grad, leaves_of, mlp, penalty_of, points
from wgan_fast.second_order import linear as room
from wgan_fast.second_order import prune_zero_paths
from wgan_fast.second_order.replace import Replacing

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no oneDNN"
)


@pytest.fixture(autouse=True)
def _on_such_a_processor(monkeypatch):
    monkeypatch.setattr(room, "is_onednn_faster", lambda: True)


@pytest.fixture
def in_float64(monkeypatch):
    """The derivatives, with a product that can do float64, which oneDNN's cannot."""
    monkeypatch.setattr(room, "_multiply", F.linear)
    monkeypatch.setattr(room, "_can_replace", lambda *_: True)


def replaced(least_work=0):
    return Replacing(room.linear_layers(least_work))


def is_replaced(output):
    return type(output.grad_fn).__name__ == "_ProductBackward"


def single(*shape):
    return torch.randn(shape, requires_grad=True)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)], ids=["matrix", "sequence"])
@pytest.mark.parametrize("bias", [True, False])
def test_derivatives_of_every_order(shape, bias):
    tensors = [points(2, *shape), points(4, 3), *([points(4)] if bias else [])]

    def call(*tensors):
        with replaced():
            return F.linear(*tensors)

    def chain(values, order):
        """Differentiated again and again, each time through a function that is not linear."""
        for _ in range(order):
            values = torch.autograd.grad(
                sum(value.sin().sum() for value in values), tensors, create_graph=True
            )
        return list(values)

    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)
    for order in (1, 2, 3):
        assert_exact(chain([call(*tensors)], order), chain([F.linear(*tensors)], order))


@pytest.mark.usefixtures("in_float64")
def test_a_penalty_is_exact_and_at_its_floor():
    critic, x = mlp(5, 16, 16, 1), points(8, 5)
    leaves = leaves_of(critic, x)
    ours = penalty_of(critic, x, prune_zero_paths, replaced)
    assert_exact(by_grad(ours, leaves), by_grad(penalty_of(critic, x), leaves))
    with FlopCounter() as forward:
        critic(x)
    with FlopCounter() as step:
        penalty = penalty_of(critic, x, prune_zero_paths, replaced)
        torch.autograd.grad(penalty, [critic[0].weight, critic[2].weight, critic[4].weight])
    assert step.flops <= 4 * forward.flops


#: Of a matrix, in memory order and in every other that autograd hands on.
LAYOUTS = {
    "dense": lambda rows, columns: torch.randn(rows, columns),
    "transposed": lambda rows, columns: torch.randn(columns, rows).t(),
    "every second row": lambda rows, columns: torch.randn(2 * rows, columns)[::2],
    "every second column": lambda rows, columns: torch.randn(rows, 2 * columns)[:, ::2],
    "inner columns": lambda rows, columns: torch.randn(rows, columns + 3)[:, 1:-2],
    "one row again": lambda rows, columns: torch.randn(1, columns).expand(rows, columns),
    "one number again": lambda rows, columns: torch.ones(()).expand(rows, columns),
    "not aligned": lambda rows, columns: torch.randn(rows * columns + 1)[1:].view(rows, columns),
}


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_onednn_reads_every_layout(first, second):
    rows, inner, columns = 17, 65, 33
    a, b = LAYOUTS[first](rows, inner), LAYOUTS[second](columns, inner)
    expected = a.double() @ b.double().t()
    # Each of the products and sums rounds once: at most inner * eps of the sum of magnitudes.
    limit = inner * torch.finfo(torch.float32).eps * (a.double().abs() @ b.double().abs().t())
    difference = (room._multiply(a, b, None).double() - expected).abs()
    assert (difference <= limit).all()
    assert difference.any() or "number" in first + second  # it is not float64 after all


def test_values_and_gradients_in_float32():
    """The whole way, with identical masks: a smooth activation has none to flip."""
    critic = mlp(16, 64, 64, 1, activation=nn.Tanh)
    x = points(32, 16)
    theirs = by_grad(penalty_of(critic, x), leaves_of(critic, x))
    critic.float()
    x32 = x.detach().float().requires_grad_()
    with FlopCounter() as counter:
        penalty = penalty_of(critic, x32, context=replaced)
        ours = by_grad(penalty, leaves_of(critic, x32))
    assert counter.by_operator["_linear_pointwise"] > 0
    scale = math.sqrt(sum(g.square().sum().item() for g in theirs if g is not None))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            # Six passes of rounding errors, which are as often up as down.
            assert (mine.double() - other).norm() <= 100 * torch.finfo(torch.float32).eps * scale


def test_what_is_left_to_pytorch():
    x, weight, bias = single(4, 3), single(2, 3), single(2)
    with replaced():
        assert is_replaced(F.linear(x, weight, bias))
        assert is_replaced(nn.Linear(3, 2)(x))
        assert is_replaced(F.linear(x, weight=weight))
        assert F.linear(single(2, 4, 3), weight).shape == (2, 4, 2)
        assert not is_replaced(F.linear(x.detach(), weight, bias))
        assert not is_replaced(F.linear(x.double(), weight.double(), bias.double()))
        assert not is_replaced(F.linear(x.bfloat16(), weight.bfloat16()))
        assert not is_replaced(F.linear(x[0], weight, bias))  # no batch dimension
        assert not is_replaced(F.linear(x, weight[0]))  # a vector of weights
        with torch.no_grad():
            assert F.linear(x, weight).grad_fn is None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert F.linear(x, weight).dtype == torch.bfloat16
    assert not is_replaced(F.linear(x, weight, bias))


def test_nothing_is_replaced_elsewhere(monkeypatch):
    monkeypatch.setattr(room, "is_onednn_faster", lambda: False)
    with replaced():
        assert not is_replaced(F.linear(single(4, 3), single(2, 3)))


@pytest.mark.parametrize(
    ("name", "has", "expected"),
    [
        ("AMD EPYC 9755", {"avx512_f", "avx_vnni"}, True),
        ("AMD EPYC 9654", {"avx512_f"}, False),  # Zen 4
        ("AMD Ryzen 5 3600", set(), False),
        ("Intel Xeon 8480", {"avx512_f", "avx_vnni"}, False),
    ],
)
def test_the_processor_decides(monkeypatch, name, has, expected):
    monkeypatch.undo()
    monkeypatch.setattr(
        torch.cpu,
        "get_capabilities",
        lambda: {"cpu_name": name} | dict.fromkeys(has, True),
        raising=False,
    )
    decide = room.is_onednn_faster.__wrapped__
    assert decide() is (expected and torch.backends.mkl.is_available())
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert decide() is False


@pytest.mark.parametrize("wrong", [(3, 2), (2, 4)], ids=str)
def test_errors_are_those_of_pytorch(wrong):
    x, weight = single(4, 3), single(*wrong)
    with pytest.raises(RuntimeError) as theirs:
        F.linear(x, weight)
    with pytest.raises(RuntimeError) as ours, replaced():
        F.linear(x, weight)
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(RuntimeError), replaced():
        F.linear(x, single(2, 3), single(3))


def test_least_work():
    x, weight = single(8, 3), single(4, 3)
    for limit, expected in ((8 * 3 * 4, True), (8 * 3 * 4 + 1, False)):
        with replaced(limit):
            assert is_replaced(F.linear(x, weight)) is expected


def test_inside_transforms():
    """Left to PyTorch."""
    critic, x = mlp(5, 16, 1).float(), single(8, 5)

    def gradients(x):
        return torch.func.grad(lambda x: critic(x).sum())(x)

    with replaced():
        ours = gradients(x)
        torch.func.vmap(torch.func.grad(lambda row: critic(row[None]).sum()))(x)
    assert torch.equal(ours, gradients(x))
