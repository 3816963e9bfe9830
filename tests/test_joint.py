"""How several tensors are joined: critics that are known as without it, and bad input."""

import functools

import pytest
import torch
from torch import nn

from benchmarks.flops import flops_of
from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.functions import OnceTanh
from tests.test_several_tensors import (
    BATCH,
    EPSILON,
    FAKE,
    REAL,
    Molecule,
    as_dict,
    every_form,
    make,
)
from tests.textbook_several import NORMS
from wgan_fast import (
    Lazy,
    approximate_r1,
    consistency_term,
    dragan_penalty,
    fast_gradient_penalty,
    gradient_norms,
    max_gradient_penalty,
    r1_penalty,
    wgan_div_penalty,
)
from wgan_fast._penalise.critic import module_of
from wgan_fast._penalise.engines import _looked_up_anew
from wgan_fast._penalise.joint import Form, JointCritic, entries_of, joint
from wgan_fast._per_critic import memory_of
from wgan_fast.second_order import without_thresholds
from wgan_fast.second_order._profile import profile_of


@every_form
def test_lazily(form):
    """The zero in between has the shape, dtype and device of the penalty."""
    lazily = Lazy(every=2)
    given = {"reduction": "none"}
    first, zero = (lazily(r1_penalty, make(), form(REAL), **given) for _ in range(2))
    assert_close(zero, 0 * first.detach())
    lazily.step = 1
    named = lazily(r1_penalty, critic=make(), real=form(REAL), **given)
    assert_close(named, 0 * first.detach())


def test_samples_are_detached_and_may_come_from_inference_mode():
    critic, generator = make(), nn.Linear(1, 1).double()
    real = [x.clone().requires_grad_() for x in REAL]
    fake = [generator(x[..., None])[..., 0] for x in FAKE]
    fast_gradient_penalty(critic, real, fake).backward()
    dragan_penalty(critic, real).backward()
    assert all(x.grad is None for x in [*real, *generator.parameters()])
    assert critic.atoms.weight.grad.any()
    with torch.inference_mode():
        real, fake = ([x + 0 for x in y] for y in (REAL, FAKE))
    for penalty in [fast_gradient_penalty(critic, real, fake), r1_penalty(critic, real)]:
        penalty.backward()


def test_joint_norm_of_gradients():
    """What there is for gradients that are computed elsewhere."""
    gradients = [torch.randn(BATCH, *x.shape[1:]) for x in REAL]
    assert joint(gradients).shape == (BATCH, 29)
    assert torch.allclose(joint(gradients).norm(dim=1), NORMS[2](gradients))
    assert list(entries_of(as_dict(REAL), "inputs")) == [
        "inputs['bonds']", "inputs['atoms']", "inputs['charge']",
    ]  # fmt: skip


ONES = torch.ones(4, 3)
WEIGHT = torch.ones(3, requires_grad=True)


def around(critic):
    """The critic as the penalties call it."""
    return JointCritic(critic, Form(REAL, REAL))


def by_module(molecule):
    return MODULE(molecule)


MODULE = make()
#: Ways to hand over a critic.
WAYS = {
    "module": MODULE,
    "method": MODULE.forward,
    "function": by_module,
    "lambda": lambda molecule: MODULE(molecule),
    "lambda of a local": (lambda net: lambda molecule: net(molecule))(MODULE),
    "partial": functools.partial(MODULE, scale=2.0),
    "partial of a partial": functools.partial(functools.partial(by_module)),
}


@pytest.mark.parametrize("critic", WAYS.values(), ids=WAYS)
def test_critics_are_known_as_without(critic):
    """By their module, by what was found out earlier, and by their profile."""
    module = module_of(critic)
    assert module_of(around(critic)) is module
    memory = memory_of(critic, module)
    assert memory_of(around(critic), module) is memory
    profile = profile_of(critic, module, memory)
    assert profile_of(around(critic), module, memory) is profile is not None


def test_arguments_of_a_partial_stay_where_they_are():
    def critic(weight, pair, *, scale, shift=0.0):
        return scale * weight * pair[0].square().sum(1) + pair[1].sum(1) + shift

    real = torch.ones(4, 2), torch.ones(4, 1)
    partial = functools.partial(critic, 0.5, scale=1.0)
    for critic_kwargs, size in [({}, 3), ({"scale": 2.0, "shift": 1.0}, 9)]:
        penalty = r1_penalty(partial, real, gamma=2.0, critic_kwargs=critic_kwargs)
        assert penalty.item() == pytest.approx(size)
    assert _looked_up_anew(around(partial)).keywords == {"scale": 1.0}


def test_batch_normalisation_is_named_where_the_penalty_is_called():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.warns(UserWarning, match=r"in training mode: 0\.2 \(BatchNorm1d\)") as caught:
        r1_penalty(_First(net), (torch.randn(6, 3), torch.randn(6, 2)))
    assert caught[0].filename == __file__


class _First(nn.Sequential):
    """Looks at the first of several tensors alone."""

    def forward(self, several):
        return super().forward(several[0])


def test_samples_that_meet_are_warned_of():
    critic = _First(nn.Flatten(), nn.Linear(3, 4), nn.Tanh())

    def centred(several):
        scores = critic(several)
        return scores - scores.mean(0)

    real = torch.randn(6, 3), torch.randn(6, 2)
    with pytest.warns(UserWarning, match="depends on other samples of the batch"):
        r1_penalty(centred, real, chunk_size=3)


@pytest.mark.parametrize("given", [{"chunk_size": 2}, {"double_backward": "finite_difference"}])
def test_the_state_of_the_critic_advances_as_without(given):
    """Spectral normalisation and dropout: every pass begins with the same state."""
    results = []
    for several in (False, True):
        torch.manual_seed(5)
        inner = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8))
        net = nn.Sequential(inner, nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 1)).double()
        real = torch.randn(BATCH, 3, dtype=torch.float64)
        if several:
            penalty = r1_penalty(_First(*net), (real,), **given)
        else:
            penalty = r1_penalty(net, real, **given)
        results.append((penalty, gradients_of(penalty, net), inner.parametrizations.weight[0]._u))
    assert_close(results[1][0], results[0][0])
    assert_same_gradients(results[1][1], results[0][1])
    assert torch.equal(results[1][2], results[0][2])


class Wide(nn.Module):
    """Two inputs into one layer with kinks."""

    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Conv2d(3, 16, 4, 2, 1), nn.Linear(32, 16)
        self.rest = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.2),
                                  nn.Flatten(), nn.Linear(32 * 16, 1))  # fmt: skip

    def forward(self, pair):
        return self.rest(self.image(pair["image"]) + self.text(pair["text"])[..., None, None])


def test_a_double_backward_takes_four_passes():
    """As many as with one tensor, where PyTorch's own takes six."""
    critic, real = Wide(), {"image": torch.randn(8, 3, 16, 16), "text": torch.randn(8, 32)}
    with without_thresholds():
        flops = flops_of(lambda: r1_penalty(critic, real).backward())
    plain = flops_of(lambda: r1_penalty(critic, real, double_backward="plain").backward())
    forward = flops_of(lambda: critic(real))
    assert flops <= 4.1 * forward
    assert plain > 5.9 * forward


def test_a_critic_without_a_double_backward_says_so():
    penalty = r1_penalty(lambda x: OnceTanh.apply(x[0] * WEIGHT).sum(1) + x[1], (ONES, ONES[:, 0]))
    with pytest.raises(RuntimeError, match=r"@once_differentiable.*\"finite_difference\""):
        penalty.backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which PyTorch's compiler looks at
def test_inside_a_compiled_step():
    torch._dynamo.reset()
    critic = make()
    compiled = torch.compile(lambda real: r1_penalty(critic, real), backend="eager")(REAL)
    expected = r1_penalty(critic, REAL)
    assert_close(compiled, expected)
    assert_same_gradients(gradients_of(compiled, critic), gradients_of(expected, critic))


#: Every member, with how many batches it takes.
MEMBERS = {
    fast_gradient_penalty: 2, wgan_div_penalty: 2, max_gradient_penalty: 2, gradient_norms: 2,
    r1_penalty: 1, dragan_penalty: 1, approximate_r1: 1, consistency_term: 1,
}  # fmt: skip
every_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)


@every_member
@pytest.mark.parametrize(
    ("real", "error", "message"),
    [
        ((), ValueError, r"^real must hold at least one tensor, but it is \(\)"),
        ([], ValueError, r"^real must hold at least one tensor, but it is \[\]"),
        ({}, ValueError, r"^real must hold at least one tensor, but it is \{\}"),
        ("image", TypeError, r"^real must be a tensor \[B, \*\], or a tuple, list or dict of ten"),
        ({ONES}, TypeError, r"^real must be a tensor \[B, \*\], or a tuple, list or dict of tenso"),
        ([1.0, 2.0], TypeError, r"^real\[0\] must be a tensor \[B, \*\], but it is 1\.0"),
        ((ONES, None), TypeError, r"^real\[1\] must be a tensor \[B, \*\], but it is None"),
        ({"a": ONES, "b": (ONES,)}, TypeError, r"^real\['b'\] must be .* is a tuple; put all"),
        ((ONES, {"a": ONES}), TypeError, r"^real\[1\] must be .* is a dict; put all .* one tuple,"),
        ((ONES, ONES.long()), TypeError, r"^real\[1\] .*torch\.int64; labels .* critic_args or cr"),
        ({"y": ONES > 0}, TypeError, r"^real\['y'\] .*torch\.bool; labels .* critic_args or crit"),
        (Molecule(ONES, ONES.int(), ONES), TypeError, r"^real\.atoms must be .* is torch\.int32;"),
        ((ONES, ONES + 0j), TypeError, r"^real\[1\] .* torch\.complex64; convert it, for example"),
        ((ONES, ONES.to_sparse()), TypeError, r"^real\[1\] must be a dense tensor .*sparse_coo;"),
        ((ONES, ONES[:, :0]), ValueError, r"^real\[1\] must not be empty, .* shape is \[4, 0\]"),
        ((ONES, ONES.sum()), ValueError, r"^real\[1\] must be \[B, \*\] with a batch dimension"),
        ((ONES, ONES[:3]), ValueError, r"^real\[1\] must have the batch of real\[0\], 4 .* has 3$"),
        (
            {"a": ONES, "b": ONES.half()},
            TypeError,
            r"^real\['b'\] must have the dtype of real\['a'\], torch\.float32, but it is torch\.f"
            r"loat16; convert it with real\['b'\]\.to\(real\['a'\]\.dtype\)$",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_bad_samples(member, real, error, message):
    with pytest.raises(error, match=message):
        member(sum_of_all, *[real] * MEMBERS[member])


def sum_of_all(several):
    return sum(x.sum(1) for x in several)


def test_another_device():
    """A machine without a GPU has no tensors on one: a stand-in says that it is one."""

    class Elsewhere(torch.Tensor):
        device = torch.device("cuda", 1)

    message = r"^real\[1\] must be on the device of real\[0\], cpu, but it is on cuda:1; move it w"
    with pytest.raises(ValueError, match=message):
        r1_penalty(sum_of_all, (ONES, ONES.as_subclass(Elsewhere)))
    message = r"^fake\[1\] must be on the device of real\[1\], cpu, but it is on cuda:1; move it w"
    with pytest.raises(ValueError, match=message):
        fast_gradient_penalty(sum_of_all, (ONES, ONES), (ONES, ONES.as_subclass(Elsewhere)))


@pytest.mark.parametrize("member", [name for name, batches in MEMBERS.items() if batches == 2])
@pytest.mark.parametrize(
    ("real", "fake", "error", "message"),
    [
        (
            (ONES, ONES),
            ONES,
            TypeError,
            "^fake must be a tuple or list, as real is, but it is a te",
        ),
        (ONES, (ONES,), TypeError, "^fake must be a tensor, as real is, but it is a tuple or list"),
        ((ONES,), {"a": ONES}, TypeError, "^fake must be a tuple or list, as real is, .* a dict"),
        ({"a": ONES}, [ONES], TypeError, "^fake must be a dict, as real is, but it is a tuple or"),
        ((ONES, ONES), (ONES,), ValueError, "^fake must hold as many tensors as real, 2, .*s 1$"),
        (
            {"a": ONES, "b": ONES},
            {"a": ONES, "c": ONES},
            ValueError,
            r"^fake must have the keys of real, \['a', 'b'\], but its keys are \['a', 'c'\]",
        ),
        ((ONES,), (), ValueError, r"^fake must hold at least one tensor, but it is \(\)"),
        ((ONES,), None, TypeError, r"^fake must be a tensor \[B, \*\], or a tuple, list or dict"),
        (None, (ONES,), TypeError, r"^real must be a tensor \[B, \*\], or a tuple, list or dict"),
        (
            (ONES, ONES),
            (ONES, ONES[:, :2]),
            ValueError,
            r"^fake\[1\] must have the shape of real\[1\], \[4, 3\], but it is \[4, 2\]",
        ),
        (
            {"a": ONES},
            {"a": ONES.double()},
            TypeError,
            r"^fake\['a'\] must have the dtype of real\['a'\], .*; convert it with fake\['a'\]\.to",
        ),
        ((ONES, ONES), (ONES, 3), TypeError, r"^fake\[1\] must be a tensor \[B, \*\], .* is 3"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_real_and_fake_must_fit(member, real, fake, error, message):
    with pytest.raises(error, match=message):
        member(sum_of_all, real, fake)


def test_a_tuple_and_a_list_fit():
    """A data loader gives lists where a generator returns a tuple."""
    given = {"epsilon": EPSILON}
    mixed = fast_gradient_penalty(make(), Molecule(*REAL), FAKE, **given)
    assert_close(mixed, fast_gradient_penalty(make(), REAL, tuple(FAKE), **given))


def test_errors_of_the_critic():
    with pytest.raises(TypeError, match="critic must be callable"):
        r1_penalty(None, (ONES, ONES))
    with pytest.raises(ValueError, match=r"a score for each of the 4 samples, shape \[4, \*\]"):
        fast_gradient_penalty(lambda x: x[0].sum(), (ONES, ONES), (ONES, ONES))
    with pytest.raises(ValueError, match="critic must return scores that depend on its input"):
        r1_penalty(lambda x: x[0].detach().sum(1), (ONES, ONES))
