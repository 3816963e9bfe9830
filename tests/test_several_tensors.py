"""Samples of several tensors: one mixing factor for each sample, one norm over all of them."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.comparing import (
    assert_close,
    assert_same_gradients,
    every_double_backward,
    gradients_of,
)
from tests.textbook_several import NORMS, TERMS, around, between, norms_at, rows
from wgan_fast import (
    approximate_r1,
    consistency_term,
    dragan_penalty,
    fast_gradient_penalty,
    gradient_norms,
    max_gradient_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)

BATCH = 5


class Molecule(NamedTuple):
    bonds: Tensor
    atoms: Tensor
    charge: Tensor


#: What may hold the tensors.
FORMS = {
    "tuple": tuple,
    "list": list,
    "dict": lambda tensors: dict(zip(Molecule._fields, tensors, strict=True)),
    "named tuple": Molecule._make,
}
as_dict = FORMS["dict"]
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


class Graphs(nn.Module):
    """Scores of bonds ``[B, 4, 4]``, atoms ``[B, 4, 3]`` and a charge ``[B]``; smooth."""

    def __init__(self):
        super().__init__()
        self.bonds, self.atoms = nn.Linear(16, 12), nn.Linear(3, 3)
        self.charge, self.score = nn.Linear(1, 12), nn.Linear(12, 2, bias=False)
        self.forms = set()

    def forward(self, molecule, temperature=None, *, scale=1.0):
        self.forms.add(type(molecule))
        tensors = molecule.values() if isinstance(molecule, dict) else molecule
        bonds, atoms, charge = tensors
        features = self.atoms(atoms.view(-1, 3)).view(-1, 12)  # asks for contiguous memory
        features = features * self.bonds(bonds.flatten(1)).tanh() + self.charge(charge[:, None])
        if temperature is not None:
            features = features * temperature[:, None]
        return self.score(nn.functional.silu(features)) * scale


def make():
    torch.manual_seed(1)
    return Graphs().double()


def molecules(seed):
    """A list of tensors; their deviations differ."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {(4, 4): 1.0, (4, 3): 3.0, (): 0.3}
    return [
        size * torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)
        for shape, size in shapes.items()
    ]


REAL, FAKE = molecules(1), molecules(2)
EPSILON = torch.linspace(0.1, 0.9, BATCH, dtype=torch.float64)
TEMPERATURE = torch.linspace(0.5, 2.0, BATCH, dtype=torch.float64)
CALL = {"critic_args": (TEMPERATURE,), "critic_kwargs": {"scale": 0.5}}


def seeded():
    return torch.Generator().manual_seed(7)


#: Each penalty: ours, called with samples in a form, and the points of the textbook.
FAMILY = {
    "wgan_gp": (
        lambda c, form, **k: fast_gradient_penalty(c, form(REAL), form(FAKE), epsilon=EPSILON, **k),
        lambda: between(REAL, FAKE, EPSILON),
    ),
    "r1": (lambda c, form, **k: r1_penalty(c, form(REAL), **k), lambda: REAL),
    "r2": (lambda c, form, **k: r2_penalty(c, form(FAKE), **k), lambda: FAKE),
    "dragan": (
        lambda c, form, **k: dragan_penalty(c, form(REAL), generator=seeded(), **k),
        lambda: around(REAL, seeded()),
    ),
    "wgan_div": (
        lambda c, form, **k: wgan_div_penalty(c, form(REAL), form(FAKE), epsilon=EPSILON, **k),
        lambda: between(REAL, FAKE, EPSILON),
    ),
    "max": (
        lambda c, form, **k: max_gradient_penalty(c, form(REAL), form(FAKE), epsilon=EPSILON, **k),
        lambda: between(REAL, FAKE, EPSILON),
    ),
}
every_member = pytest.mark.parametrize("member", FAMILY)


def compare(member, form=tuple, *, norm=2, rtol=1e-12, **given):
    """Penalty, norms and gradients are the textbook's."""
    ours_of, points = FAMILY[member]
    critic, theirs = make(), make()
    penalty, norms = ours_of(critic, form, norm=norm, return_norms=True, **CALL, **given)
    expected_norms = norms_at(theirs, points(), norm, **CALL)
    expected = TERMS[member](expected_norms)
    assert expected > 0
    assert_close(penalty, expected)
    assert_close(norms, expected_norms.detach())
    assert_same_gradients(gradients_of(penalty, critic), gradients_of(expected, theirs), rtol)
    assert critic.forms == {type(form(REAL))}


@every_member
@every_form
def test_against_the_textbook(member, form):
    compare(member, form)


@every_member
@every_double_backward
def test_on_every_backend(member, double_backward, backend):
    compare(member, double_backward=double_backward, backend=backend)


@every_member
@pytest.mark.parametrize("norm", NORMS)
def test_dual_norms(member, norm):
    compare(member, norm=norm)


@every_member
@pytest.mark.parametrize("norm", [2, math.inf])
def test_chunk_size(member, norm):
    """Slices of two, two and one; the critic's argument is cut along."""
    compare(member, as_dict, chunk_size=2, norm=norm)


@every_member
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_finite_differences(member, chunk_size):
    """At the default step h, 1e-6, a difference is off by h^2 times the critic's third derivatives,
    and by the rounding of its scores over h: 1e-12 and 2e-10, with 50 times as much for sums."""
    compare(member, rtol=1e-8, chunk_size=chunk_size, double_backward="finite_difference")


@every_form
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_subset(form, chunk_size):
    """The chosen samples are chosen in all tensors, and in the arguments."""
    critic = make()
    penalty, norms = fast_gradient_penalty(
        critic, form(REAL), form(FAKE), epsilon=EPSILON, subset=0.6, generator=seeded(),
        return_norms=True, chunk_size=chunk_size, **CALL,
    )  # fmt: skip
    chosen = torch.randperm(BATCH, generator=seeded())[:3].sort().values
    points = [x[chosen] for x in between(REAL, FAKE, EPSILON)]
    call = {**CALL, "critic_args": (TEMPERATURE[chosen],)}
    expected = norms_at(critic, points, **call)
    assert_close(norms, expected.detach())
    assert_close(penalty, TERMS["wgan_gp"](expected))


def test_reductions():
    critic = make()
    each = norms_at(critic, REAL)
    for reduction, expected in [
        ("none", 5 * each**2),
        ("sum", 5 * (each**2).sum()),
        ("max", 5 * (each**2).max()),
    ]:
        assert_close(r1_penalty(critic, REAL, reduction=reduction), expected)


@pytest.mark.parametrize("subset", [None, 0.6])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_draws_the_factors_that_one_tensor_gets(backend, subset, chunk_size):
    """Between zeros and ones, the interpolates are the factors."""
    ones, zeros = torch.ones(BATCH, 3), torch.zeros(BATCH, 3)
    pair = {"image": ones, "mask": torch.ones(BATCH)}, {"image": zeros, "mask": torch.zeros(BATCH)}
    factors, images, masks = [], [], []

    def of_one(x):
        factors.append(x.detach())
        return x.square().sum(1)

    def of_two(x):
        images.append(x["image"].detach())
        masks.append(x["mask"].detach())
        return x["image"].square().sum(1) + x["mask"]

    for critic, samples in [(of_one, (ones, zeros)), (of_two, pair)]:
        fast_gradient_penalty(
            critic, *samples, backend=backend, generator=seeded(), subset=subset,
            chunk_size=chunk_size,
        )  # fmt: skip
    assert torch.equal(torch.cat(images), torch.cat(factors))
    assert torch.equal(torch.cat(masks), torch.cat(factors)[:, 0])


@every_form
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradient_norms(form, chunk_size):
    critic = make()
    found = gradient_norms(
        critic, form(REAL), form(FAKE), epsilon=EPSILON, chunk_size=chunk_size, **CALL
    )
    for norms, points in zip(found, [REAL, FAKE, between(REAL, FAKE, EPSILON)], strict=True):
        assert_close(norms, norms_at(critic, points, **CALL).detach())


@every_form
def test_approximate_r1(form):
    critic, theirs = make(), make()
    ours = approximate_r1(critic, form(REAL), sigma=0.2, generator=seeded(), **CALL)
    numbers = sum(x[0].numel() for x in REAL)
    noise = torch.randn(BATCH, numbers, generator=seeded(), dtype=torch.float64)
    noisy = [
        x + 0.2 * part.reshape(x.shape)
        for x, part in zip(REAL, noise.split([rows(x).shape[1] for x in REAL], 1), strict=True)
    ]
    change = theirs(REAL, TEMPERATURE, scale=0.5) - theirs(noisy, TEMPERATURE, scale=0.5)
    expected = 100 * (change.sum(1) ** 2).mean()
    assert_close(ours, expected)
    assert_same_gradients(gradients_of(ours, critic), gradients_of(expected, theirs))
    assert critic.forms == {type(form(REAL))}


@every_form
def test_consistency_term(form):
    critic, dropout = make(), nn.Dropout(0.5)

    def dropped(molecule):
        critic(molecule)  # notes the form
        tensors = molecule.values() if isinstance(molecule, dict) else molecule
        features = torch.cat([rows(x) for x in tensors], 1) * critic.score.weight.sum()
        return dropout(features).sum(1), features

    torch.manual_seed(3)
    ours = consistency_term(dropped, form(REAL))
    torch.manual_seed(3)
    scores = [dropped(REAL)[0] for _ in range(2)]
    assert_close(ours, 2 * ((scores[0] - scores[1]) ** 2).mean())
    assert type(form(REAL)) in critic.forms


def test_one_tensor_in_a_form_is_that_tensor():
    """Values, gradients and draws are the same."""
    critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    real, fake = torch.randn(2, BATCH, 3, dtype=torch.float64)
    for penalty_of, samples in [
        (fast_gradient_penalty, (real, fake)),
        (dragan_penalty, (real,)),
        (approximate_r1, (real,)),
    ]:
        alone = penalty_of(critic, *samples, generator=seeded())
        wrapped = penalty_of(
            lambda x: critic(x["x"]),
            *({"x": x} for x in samples),
            generator=seeded(),
            module=critic,
        )
        assert_close(wrapped, alone)


def test_what_the_critic_does_not_use_has_no_gradient():
    penalty, norms = r1_penalty(lambda x: x[0] @ torch.tensor([3.0, 4.0]), (torch.ones(2, 2),) * 2,
                                return_norms=True)  # fmt: skip
    assert norms.tolist() == [5.0, 5.0]
    assert penalty == 125


def test_the_keys_of_a_dict_may_be_in_any_order():
    """The critic gets them in that of real."""
    real, fake = (dict(zip("ab", x[:2], strict=True)) for x in (REAL, FAKE))
    orders = []

    def critic(x):
        orders.append(list(x))
        return x["a"].square().sum((1, 2)) + x["b"].sin().sum((1, 2))

    given = {"epsilon": EPSILON}
    backwards = dict(reversed(fake.items()))
    assert fast_gradient_penalty(critic, real, backwards, **given) == fast_gradient_penalty(
        critic, real, fake, **given
    )
    assert orders == [["a", "b"]] * 2


def test_the_critic_may_change_what_it_gets():
    """Its tensors are its own, also those of a slice of one sample."""

    def critic(x):
        return sum(part.mul_(2).flatten(1).square().sum(1) for part in x[:2])

    whole = r1_penalty(critic, REAL)
    assert_close(r1_penalty(critic, REAL, chunk_size=2), whole)
    assert_close(whole, 5 * 64 * sum(rows(x).square().sum(1) for x in REAL[:2]).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(dtype):
    """Mixing and gradients are rounded to the dtype; norms and penalty are float32."""
    critic = make().to(dtype)
    real, fake = ([x.to(dtype) for x in y] for y in (REAL, FAKE))
    penalty, norms = fast_gradient_penalty(critic, real, fake, epsilon=EPSILON, return_norms=True)
    assert penalty.dtype == norms.dtype == torch.float32
    expected = norms_at(make(), between(REAL, FAKE, EPSILON)).float()
    # Some fifteen operations there and back, each rounded by half an eps.
    assert ((norms - expected).abs() / expected).max() < 8 * torch.finfo(dtype).eps
