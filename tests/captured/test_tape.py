"""What is left out of a tape, and what is not."""

import torch

from wgan_fast._capture.bindings import binding_of
from wgan_fast._capture.recording import Recording, recording
from wgan_fast._capture.replay import Replay
from wgan_fast._capture.simplify import simplified


def taped(function, *inputs):
    mode = Recording()
    for tensor in inputs:
        mode.add_input(tensor)
    with torch.no_grad(), recording(mode):
        outputs = function(*inputs)
    mode.tape.outputs = [mode.slot_of(output) for output in outputs]
    return mode.tape


def names(tape):
    return [call.op.name().removeprefix("aten::") for call in tape.calls]


def check(function, *inputs, calls):
    tape = simplified(taped(function, *inputs))
    assert names(tape) == calls
    expected = function(*(tensor.clone() for tensor in inputs))
    for ours, theirs in zip(Replay(tape)(inputs), expected, strict=True):
        assert torch.equal(ours, theirs)


X = torch.linspace(-1, 1, 6).reshape(2, 3)


def test_what_nobody_reads_is_left_out():
    check(lambda x: [(x + 1, x * 2)[1]], X, calls=["mul.Tensor"])


def test_what_was_computed_already_is_left_out():
    check(lambda x: [x.exp() + x.exp()], X, calls=["exp", "add.Tensor"])
    check(lambda x: [(x * 1.0) + (x * True)], X, calls=["mul.Tensor", "mul.Tensor", "add.Tensor"])


def test_other_names_are_left_out():
    check(lambda x: [x.detach().t().t().detach().exp()], X, calls=["exp"])


def test_draws_stay():
    tape = simplified(taped(lambda x: [(torch.rand(2), torch.rand(2), x + 1)[2]], X))
    assert names(tape) == ["rand", "rand", "add.Tensor"]


def test_what_is_written_to_is_not_taken_for_another():
    def function(x):
        first, second = torch.zeros(2, 3), torch.zeros(2, 3)
        first.add_(x)
        before = first.exp()
        first.mul_(2)
        return [first.exp() + before, second]

    check(
        function, X,
        calls=["zeros", "zeros", "add_.Tensor", "exp", "mul_.Tensor", "exp", "add.Tensor"],
    )  # fmt: skip


def test_what_is_written_to_by_a_view_is_read_later():
    def function(x):
        y = x.clone()
        y[0].fill_(5.0)
        return [y.sum()]

    check(function, X, calls=["clone", "select.int", "fill_.Scalar", "sum"])


def test_writing_to_a_constant_stays():
    state = torch.zeros(3)
    tape = simplified(taped(lambda x: [(state.add_(x.sum(0)), x + 1)[1]], X))
    assert names(tape) == ["sum.dim_IntList", "add_.Tensor", "add.Tensor"]
    state.zero_()
    Replay(tape)([X])
    assert torch.equal(state, X.sum(0))


def test_what_changes_shape_in_place_is_left_alone():
    def function(x):
        y = x.clone()
        z = y.detach()
        z.unsqueeze_(0)
        return [y + 1, z + 1]

    tape = simplified(taped(function, X))
    ours = Replay(tape)([X])
    assert [list(each.shape) for each in ours] == [[2, 3], [1, 2, 3]]


def test_what_is_always_the_same_is_computed_once():
    replay = Replay(simplified(taped(lambda x: [x + torch.ones_like(x).neg().exp()], X)))
    assert replay._run.__code__.co_names == ("o0", "t3")
    assert torch.equal(replay([X])[0], X + torch.ones(2, 3).neg().exp())


def test_bindings_lead_to_their_operator():
    aten = torch.ops.aten
    assert binding_of(aten.mul.Tensor, (X, X), {}) is torch.mul
    assert binding_of(aten.add_.Tensor, (X, X), {}) is torch.Tensor.add_
    # torch.div(x, 2) calls div.Tensor.
    assert binding_of(aten.div.Scalar, (X, 2), {}) is aten.div.Scalar
    assert binding_of(aten.threshold_backward.default, (X, X, 0), {}) is (
        aten.threshold_backward.default
    )
    before = torch.get_rng_state()
    settings = {"device": X.device, "pin_memory": False}
    assert binding_of(aten.rand.default, ([2],), settings) is torch.rand
    assert torch.equal(torch.get_rng_state(), before)
