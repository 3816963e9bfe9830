"""The family of the gradient penalty against textbook implementations, in float64."""

import dataclasses
import functools
import inspect
import math

import pytest
import torch
from torch import nn

from tests.comparing import (
    assert_close,
    assert_same_gradients,
    every_double_backward,
    gradients_of,
)
from tests.critics import NAMED, mlp
from tests.textbook import textbook_gradient_penalty
from tests.textbook_family import (
    textbook_banach,
    textbook_dragan,
    textbook_max_gradient,
    textbook_r1,
    textbook_wgan_div,
)
from wgan_fast import (
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from wgan_fast._penalise.options import Keywords, Options, Shared

#: Critics of all kinds: piecewise linear, smooth, convolutions, several scores, labels, attention.
NAMES = [
    "numbers", "mlp_relu", "mlp_tanh", "dcgan", "dcgan_layer_norm", "resnet_mean_pooling",
    "patch_gan", "conv_transposed", "projection_labels_in_kwargs", "conditional_labels_in_args",
    "attention_functional", "lstm", "functional",
]  # fmt: skip
every_name = pytest.mark.parametrize("name", NAMES)

banach = functools.partial(textbook_banach, dual=2)


def on_real(case):
    """For ours and for the textbook: the samples, and what is drawn."""
    return [(case.samples()[:1], {})] * 2


def around_real(case):
    """The library draws from a generator, the textbook is given the same numbers."""
    (real,) = case.samples()[:1]
    ours, theirs = (torch.Generator().manual_seed(3) for _ in range(2))
    uniform = torch.rand(real.shape, generator=theirs, dtype=torch.float64)
    return [([real], {"generator": ours}), ([real], {"uniform": uniform})]


def between(case):
    return [(case.samples(), {"epsilon": case.epsilon()})] * 2


#: Each penalty, its textbook, the samples, and what both are called with.
FAMILY = {
    "r1": (r1_penalty, textbook_r1, on_real, {}),
    "r1_gamma": (r1_penalty, textbook_r1, on_real, {"gamma": 0.3}),
    "r2": (r2_penalty, textbook_r1, on_real, {"gamma": 2}),
    "dragan": (dragan_penalty, textbook_dragan, around_real, {}),
    "dragan_lambda": (dragan_penalty, textbook_dragan, around_real, {"lambda_gp": 0.5}),
    "wgan_div": (wgan_div_penalty, textbook_wgan_div, between, {}),
    "wgan_div_k_p": (wgan_div_penalty, textbook_wgan_div, between, {"k": 0.7, "p": 3.5}),
    "max": (max_gradient_penalty, textbook_max_gradient, between, {}),
    "max_lambda": (max_gradient_penalty, textbook_max_gradient, between, {"lambda_gp": 0.1}),
    "wgan_lp": (fast_gradient_penalty, banach, between, {"one_sided": True}),
    "zero_centred": (fast_gradient_penalty, banach, between, {"target": 0.0}),
}
every_member = pytest.mark.parametrize("member", FAMILY)


def compare(name, ours_of, theirs_of, points, given, **shared):
    """The penalty and its gradients are the textbook's, to 1e-12."""
    case = NAMED[name]
    results = []
    for penalty_of, (samples, drawn), choice in zip(
        [ours_of, theirs_of], points(case), [shared, {}], strict=True
    ):
        module, critic = case.make()
        penalty = penalty_of(critic, *samples, **drawn, **given, **case.arguments(), **choice)
        results.append((penalty, gradients_of(penalty, module)))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert theirs > 0
    assert_close(ours, theirs)
    assert_same_gradients(our_gradients, their_gradients)


@every_name
@every_member
def test_against_the_textbook(name, member):
    compare(name, *FAMILY[member])


@every_member
@every_double_backward
def test_on_every_backend(member, double_backward, backend):
    compare("dcgan", *FAMILY[member], double_backward=double_backward, backend=backend)


@every_name
@every_member
def test_chunk_size(name, member):
    compare(name, *FAMILY[member], chunk_size=3)


@every_name
@pytest.mark.parametrize("dual", [1, 2, math.inf])
@pytest.mark.parametrize("given", [{}, {"target": 0.02, "one_sided": True}], ids=str)
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_dual_norms(name, dual, given, chunk_size):
    textbook = functools.partial(textbook_banach, dual=dual)
    ours = functools.partial(fast_gradient_penalty, norm=dual, chunk_size=chunk_size)
    compare(name, ours, textbook, between, given)


@pytest.mark.parametrize("norm", [1, math.inf])
def test_dual_norms_of_the_other_penalties(norm):
    """Every penalty has the keyword; the norms that it returns are those that it penalises."""
    critic = nn.Linear(3, 1)
    critic.weight.data = torch.tensor([[3.0, -4.0, 0.0]])
    size = {1: 7.0, math.inf: 4.0}[norm]
    real, fake = torch.randn(2, 5, 3)
    results = {
        r1_penalty(critic, real, norm=norm, return_norms=True): 5 * size**2,
        r2_penalty(critic, fake, norm=norm, return_norms=True): 5 * size**2,
        dragan_penalty(critic, real, norm=norm, return_norms=True): 10 * (size - 1) ** 2,
        wgan_div_penalty(critic, real, fake, norm=norm, return_norms=True): 2 * size**6,
        max_gradient_penalty(critic, real, fake, norm=norm, return_norms=True): 10 * size**2,
    }
    for (penalty, norms), expected in results.items():
        assert penalty.item() == pytest.approx(expected)
        assert norms.tolist() == [size] * 5


@pytest.mark.parametrize("norm", [1, math.inf])
def test_dual_norm_bounds_the_slope_in_its_norm_of_the_samples(norm):
    """|D(x) - D(y)| <= dual norm of the gradient * norm of x - y, and no smaller bound holds."""
    weight = torch.tensor([3.0, -4.0, 0.5])
    _, norms = r1_penalty(lambda x: x @ weight, torch.randn(1, 3), norm=norm, return_norms=True)
    steps = {math.inf: torch.eye(3), 1: torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)}
    lengths = torch.linalg.vector_norm(steps[norm], {1: math.inf, math.inf: 1}[norm], dim=1)
    assert ((steps[norm] @ weight).abs() / lengths).max() == norms


@pytest.mark.parametrize("norm", [1, math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dual_norms_do_not_push_where_the_gradient_is_zero(norm, dtype):
    weight = torch.zeros(3, dtype=dtype, requires_grad=True)
    real = torch.randn(4, 3, dtype=dtype)
    penalty, norms = r1_penalty(lambda x: x @ weight, real, norm=norm, return_norms=True)
    penalty.backward()
    assert penalty.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not norms.any()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_wgan_gp_is_a_member_of_the_family():
    """The two textbooks agree, so that the family's is no less a judge."""
    case = NAMED["dcgan"]
    given = {"epsilon": case.epsilon()}
    one = textbook_gradient_penalty(case.make()[1], *case.samples(), **given)
    other = textbook_banach(case.make()[1], *case.samples(), dual=2, **given)
    assert_close(one, other)


def shared_calls(critic, real, fake, **shared):
    """Every penalty with the same shared keywords."""
    return {
        "wgan_gp": fast_gradient_penalty(critic, real, fake, **shared),
        "r1": r1_penalty(critic, real, **shared),
        "r2": r2_penalty(critic, fake, **shared),
        "dragan": dragan_penalty(critic, real, **shared),
        "wgan_div": wgan_div_penalty(critic, real, fake, **shared),
    }


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_reductions(chunk_size):
    critic, (real, fake) = mlp(nn.SiLU).double(), torch.randn(2, 5, 5, dtype=torch.float64)
    results = []
    for reduction in ["none", "sum", "mean"]:
        torch.manual_seed(4)
        results.append(shared_calls(critic, real, fake, reduction=reduction, chunk_size=chunk_size))
    for name, each in results[0].items():
        assert each.shape == (5,)
        assert_close(each.sum(), results[1][name])
        assert_close(each.mean(), results[2][name])


def test_a_maximum_that_is_shared_is_pushed_evenly():
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]], dtype=torch.float64)
    max_gradient_penalty(
        lambda x: (x**2) @ weight / 2, real, real, lambda_gp=1.0
    ).backward()  # fmt: skip
    assert weight.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_fast_gradient_penalty_with_the_maximum(chunk_size):
    case = NAMED["mlp_silu"]
    module, critic = case.make()
    given = {"epsilon": case.epsilon(), "chunk_size": chunk_size}
    largest = fast_gradient_penalty(critic, *case.samples(), reduction="max", **given)
    each = fast_gradient_penalty(critic, *case.samples(), reduction="none", **given)
    assert_close(largest, each.max())
    assert_same_gradients(gradients_of(largest, module), gradients_of(each.max(), module))


def test_points_follow_the_generator():
    critic, (real, fake) = mlp(nn.SiLU), torch.randn(2, 6, 5)
    for penalty_of in [
        lambda **shared: dragan_penalty(critic, real, **shared),
        lambda **shared: wgan_div_penalty(critic, real, fake, **shared),
    ]:
        values = [
            penalty_of(generator=torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)
        ]
        assert values[0] == values[1] != values[2]
        torch.manual_seed(5)
        by_default = penalty_of().item()
        torch.manual_seed(5)
        assert penalty_of().item() == by_default


def test_dragan_perturbs_each_entry_by_half_a_deviation_at_most():
    seen = []

    def critic(x):
        seen.append(x.detach().clone())
        return (x**2).sum((1, 2))

    real = 3 * torch.randn(200, 4, 5)
    dragan_penalty(critic, real)
    moved = (seen[0] - real) / (0.5 * real.std(correction=0))
    assert moved.min() >= -1e-5
    assert moved.max() <= 1 + 1e-5
    assert moved.mean() == pytest.approx(0.5, abs=0.02)
    assert moved[0, 0, 0] != moved[0, 0, 1]


def test_samples_are_detached_and_may_come_from_inference_mode():
    generator, critic = nn.Linear(3, 5), mlp(nn.Tanh)
    fake = generator(torch.randn(6, 3))
    real = torch.randn(6, 5, requires_grad=True)
    for penalty in shared_calls(critic, real, fake).values():
        penalty.backward()
    assert real.grad is None
    assert real.requires_grad
    assert all(p.grad is None for p in generator.parameters())
    assert critic[0].weight.grad.any()
    with torch.inference_mode():
        real, fake = torch.randn(2, 6, 5)
    for penalty in shared_calls(critic, real, fake).values():
        penalty.backward()


@pytest.mark.parametrize("penalty_of", [r1_penalty, dragan_penalty])
def test_bad_samples(penalty_of):
    critic = mlp(nn.SiLU)
    with pytest.raises(TypeError, match=r"real must be a tensor \[B, \*\], or a tuple, list"):
        penalty_of(critic, None)
    with pytest.raises(ValueError, match="real must not be empty"):
        penalty_of(critic, torch.ones(0, 5))
    with pytest.raises(TypeError, match="critic must be callable"):
        penalty_of(None, torch.ones(2, 5))


def test_bad_numbers():
    critic, (real, fake) = mlp(nn.SiLU), torch.randn(2, 4, 5)
    with pytest.raises(ValueError, match="fake must not be empty"):
        r2_penalty(critic, torch.ones(0, 5))
    for call, message in [
        (lambda: r1_penalty(critic, real, gamma=-1.0), "gamma must be a finite number >= 0"),
        (lambda: dragan_penalty(critic, real, target=-1.0), "target must be a finite number >= 0"),
        (lambda: wgan_div_penalty(critic, real, fake, p=0.5), "p must be a finite number >= 1"),
        (lambda: wgan_div_penalty(critic, real, fake, k=math.nan), "k must be a finite number"),
        (lambda: max_gradient_penalty(critic, real, fake, subset=0.5), "subset must be None for"),
        (lambda: r1_penalty(critic, real, subset=0.0), r"subset must be a share .* \(0, 1\]"),
        (lambda: r1_penalty(critic, real, subset=1.5), r"subset must be a share .* \(0, 1\]"),
        (lambda: r1_penalty(critic, real, norm=3), "norm must be 1, 2 or math.inf, but it is 3"),
        (lambda: r1_penalty(critic, real, norm=1, backend="native"), "norm must be 2 with backend"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_bad_keywords():
    critic, (real, fake) = mlp(nn.SiLU), torch.randn(2, 4, 5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lambda_gp'; besides its own"):
        r1_penalty(critic, real, lambda_gp=10.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'reduction'"):
        max_gradient_penalty(critic, real, fake, reduction="mean")
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, but it is 3"):
        r1_penalty(critic, real, generator=3)


def test_shared_keywords_are_those_of_fast_gradient_penalty():
    """The list is written once for the family; this holds the flagship's own to it."""
    own = inspect.signature(fast_gradient_penalty).parameters
    for name, field in {f.name: f for f in dataclasses.fields(Options)}.items():
        assert own[name].default == field.default
        assert name in Shared.__annotations__ or name in Keywords.__annotations__


#: What draws, or cuts, or sets back.
CHOICES = [
    {}, {"subset": 0.5}, {"subset": 0.5, "first_sample": 4}, {"first_sample": 4},
    {"chunk_size": 2}, {"backend": "pytorch"}, {"double_backward": "finite_difference"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("member", "choice"),
    [
        pytest.param(member, choice, id=f"{member}-{choice}")
        for member in FAMILY
        for choice in CHOICES
        if not (member.startswith("max") and "subset" in choice)  # a maximum takes none
    ],
)
def test_a_default_device_changes_nothing(member, choice):
    """Not even one on which there are no values."""
    penalty, _, points, given = FAMILY[member]
    case = NAMED["mlp_tanh"]
    samples = points(case)[0][0]
    results = []
    for device in ("cpu", "meta"):
        module, critic = case.make()
        torch.manual_seed(0)
        with torch.device(device):
            value = penalty(critic, *samples, **given, **choice)
            value.backward()
        results.append([value.detach(), *(weight.grad for weight in module.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is theirs is None) or torch.equal(ours, theirs)
