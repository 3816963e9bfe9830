"""first_sample: several processes draw for one global batch what a single one would."""

import math

import pytest
import torch
from torch.autograd import grad

from wgan_fast import (
    PathLength,
    approximate_r1,
    critic_loss,
    distributed,
    dragan_penalty,
    fast_gradient_penalty,
    gradient_norms,
    max_gradient_penalty,
    path_length_penalty,
    r1_penalty,
    r2_penalty,
    wgan_div_penalty,
)
from wgan_fast._penalise.draws import draw_subset
from wgan_fast.ops import philox

BATCH = 32
#: The formula written out rounds once or twice more, in float32, of numbers of some units.
ROUNDED = 8 * torch.finfo(torch.float32).eps


def samples(dtype=torch.float32):
    """One of real samples, whose standard deviation is the same in every part; one of fake ones."""
    real = torch.tensor([1.0, -1.0], dtype=dtype).repeat(BATCH, 5)
    fake = torch.randn(BATCH, 10, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return real, fake


class Watched:
    """A critic that keeps the points of its last call."""

    def __call__(self, x):
        self.points = x.detach().clone()
        return (x**2).sum(1)


def path_length(_, real, fake, **draw):
    """What it draws is seen in the lengths."""
    latents = fake.clone().requires_grad_()
    images = (latents**2).unsqueeze(1)
    return path_length_penalty(images, latents, target=0.0, return_lengths=True, **draw)[1]


def path_length_of_module(_, real, fake, **draw):
    latents = fake.clone().requires_grad_()
    return PathLength()((latents**2).unsqueeze(1), latents, return_lengths=True, **draw)[1]


#: Everything that draws, called with a critic, real and fake samples.
MEMBERS = {
    "wgan_gp": fast_gradient_penalty,
    "chunked": lambda *given, **draw: fast_gradient_penalty(*given, chunk_size=64, **draw),
    "wgan_div": wgan_div_penalty,
    "max": max_gradient_penalty,
    "dragan": lambda critic, real, fake, **draw: dragan_penalty(critic, real, **draw),
    "critic_loss": lambda *given, **draw: critic_loss(*given, gp=10.0, **draw),
    "norms": gradient_norms,
    "subset_of_wgan_gp": lambda *given, **draw: fast_gradient_penalty(*given, subset=0.3, **draw),
    "subset_of_wgan_div": lambda *given, **draw: wgan_div_penalty(*given, subset=0.3, **draw),
    "subset_of_dragan": lambda critic, real, fake, **draw: dragan_penalty(
        critic, real, subset=0.3, **draw
    ),
    "subset_of_r1": lambda critic, real, fake, **draw: r1_penalty(critic, fake, subset=0.3, **draw),
    "subset_of_r2": lambda critic, real, fake, **draw: r2_penalty(critic, fake, subset=0.3, **draw),
    "approximate_r1": lambda critic, real, fake, **draw: approximate_r1(critic, fake, **draw),
    "path_length": path_length,
    "PathLength": path_length_of_module,
}
every_member = pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)

#: How the samples are spread over processes.
SPREADS = {1: [BATCH], 2: [BATCH // 2] * 2, 4: [BATCH // 4] * 4, "unequal": [4, 13, 7, 8]}


def what_it_sees(member, parts, steps=3, dtype=torch.float32, **more):
    """The points of the critic in some steps, of all processes, one after the other.

    Args:
        parts: how many samples each process has.
    """
    real, fake = samples(dtype)
    seen = [[] for _ in range(steps)]
    first = 0
    for part in parts:
        generator = torch.Generator().manual_seed(7)
        rows = slice(first, first + part)
        for step in seen:
            critic = Watched()
            result = member(
                critic, real[rows], fake[rows], generator=generator, first_sample=first, **more
            )
            step.append(getattr(critic, "points", result))
        first += part
    return [torch.cat(step) for step in seen]


@every_member
@pytest.mark.parametrize("parts", SPREADS.values(), ids=map(str, SPREADS))
def test_any_number_of_processes_draws_alike(member, parts):
    expected = what_it_sees(member, [BATCH])
    for ours, theirs in zip(what_it_sees(member, parts), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert not all(torch.equal(step, expected[0]) for step in expected), "every step draws anew"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["wgan_gp", "dragan", "approximate_r1", "subset_of_wgan_gp"])
def test_in_every_dtype(name, dtype):
    whole, parts = (
        what_it_sees(MEMBERS[name], spread, dtype=dtype) for spread in (SPREADS[1], SPREADS[4])
    )
    assert all(map(torch.equal, whole, parts))


def test_on_every_backend(backend):
    whole, parts = (
        what_it_sees(fast_gradient_penalty, SPREADS[n], backend=backend) for n in (1, 4)
    )
    assert all(map(torch.equal, whole, parts))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("share", [None, 0.3])
def test_penalties_of_processes_add_up(reduction, share):
    """However many samples of a subset each of them got."""
    real, fake = samples(torch.float64)
    critic = torch.nn.Linear(10, 1, dtype=torch.float64)

    def penalty(first, last):
        value = fast_gradient_penalty(
            lambda x: critic(x).square(), real[first:last], fake[first:last], reduction=reduction,
            subset=share, first_sample=first, generator=torch.Generator().manual_seed(3),
            module=critic,
        )  # fmt: skip
        return value.detach(), *grad(value, critic.parameters())

    # Sums of BATCH terms in float64, in another order: some 1e-15.
    whole = penalty(0, BATCH)
    each = [penalty(first, first + 8) for first in range(0, BATCH, 8)]
    for expected, parts in zip(whole, zip(*each, strict=True), strict=True):
        total = torch.stack(parts).sum(0)
        torch.testing.assert_close(
            total / 4 if reduction == "mean" else total, expected, rtol=1e-13, atol=0
        )


def test_without_it_processes_of_one_seed_repeat_each_other():
    """As the documentation warns."""
    real, fake = torch.ones(16, 2), torch.zeros(16, 2)
    halves = []
    for rank in range(2):
        torch.manual_seed(5)
        critic = Watched()
        fast_gradient_penalty(critic, real[8 * rank :][:8], fake[8 * rank :][:8])
        halves.append(critic.points)
    assert torch.equal(*halves)


def test_without_it_nothing_changes():
    """Noise is PyTorch's; mixing factors are those of the kernels from sample 0 on."""
    real, fake = samples()
    critic = Watched()
    dragan_penalty(critic, real, generator=torch.Generator().manual_seed(2))
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(critic.points, real + 0.5 * noise, rtol=ROUNDED, atol=ROUNDED)
    approximate_r1(critic, fake, sigma=1.0, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(fake.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(critic.points, fake + noise, rtol=ROUNDED, atol=ROUNDED)
    points = []
    for first in ({}, {"first_sample": 0}):
        generator = torch.Generator().manual_seed(2)
        fast_gradient_penalty(critic, real, fake, backend="reference", generator=generator, **first)
        points.append(critic.points)
    assert torch.equal(*points)


def test_draws_do_not_depend_on_the_number_of_samples():
    """Or the generators of processes with unequal batches would part."""
    for name, member in MEMBERS.items():
        states = []
        for batch in (4, 9):
            generator = torch.Generator().manual_seed(7)
            real, fake = samples()
            member(Watched(), real[:batch], fake[:batch], generator=generator, first_sample=batch)
            states.append(generator.get_state())
        assert torch.equal(*states), name


def test_every_element_has_a_counter_of_its_own():
    seed, first = torch.tensor(0x123456789ABCDEF), 2**33 + 5
    uniform = philox.uniform_like(torch.empty(3, 2, 3, dtype=torch.float64), seed, first)
    normal = philox.normal_like(torch.empty(3, 2, 3, dtype=torch.float64), seed, first)
    key = torch.tensor([0x89ABCDEF, 0x1234567])
    for sample in range(3):
        for element in range(6):
            counter = torch.tensor([[5 + sample], [2], [element // 4], [1]])
            word = philox.philox4x32_10(counter, key)[element % 4].item()
            assert uniform[sample].flatten()[element] == (word >> 8) / 2**24
            expected = math.sqrt(2) * torch.erfinv(
                torch.tensor(2 * (word + 0.5) / 2**32 - 1, dtype=torch.float64)
            )
            torch.testing.assert_close(normal[sample].flatten()[element], expected)


def test_noise_is_distributed_as_it_should_be():
    seed, many = torch.tensor(3), torch.empty(1000, 101, dtype=torch.float64)
    for drawn, quantile in [
        (philox.uniform_like(many, seed, 0), lambda x: x),
        (philox.normal_like(many, seed, 0), torch.special.ndtr),
    ]:
        sorted_ = quantile(drawn.flatten()).sort().values
        steps = torch.arange(len(sorted_)) / len(sorted_)
        # Kolmogorov and Smirnov: exceeded once in 10 000 times
        assert (sorted_ - steps).abs().max() < 2.23 / len(sorted_) ** 0.5
        # neighbours in a sample, and in the batch
        for one, other in [(drawn[:, 1:], drawn[:, :-1]), (drawn[1:], drawn[:-1])]:
            pair = torch.stack([one.flatten(), other.flatten()])
            assert torch.corrcoef(pair)[0, 1].abs() < 4 / pair.shape[1] ** 0.5


def test_a_subset_takes_every_sample_alike():
    generator = torch.Generator().manual_seed(0)
    counts, draws = torch.zeros(10), 4000
    for _ in range(draws):
        chosen = draw_subset(0.35, 10, generator, first_sample=1000)
        assert len(chosen) in (3, 4)
        counts[chosen] += 1
    assert (counts - 0.35 * draws).abs().max() < 5 * (draws * 0.35 * 0.65) ** 0.5


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"first_sample": -1}, ValueError, "first_sample must be at least 0, but it is -1"),
        ({"first_sample": 1.0}, TypeError, "first_sample must be an integer or None, but it is 1"),
        ({"first_sample": True}, TypeError, "first_sample must be an integer or None"),
    ],
)
@every_member
def test_says_what_is_wrong(member, given, error, message):
    with pytest.raises(error, match=message):
        member(Watched(), *samples(), **given)


def test_a_subset_of_no_sample_is_refused():
    with pytest.raises(ValueError, match=r"subset must be at least 1/32 with first_sample"):
        r1_penalty(Watched(), samples()[0], subset=0.01, first_sample=0)


def test_one_process_holds_all():
    assert distributed.first_sample(16) == 0
    for batch, error in [(0, ValueError), (2.0, TypeError), (True, TypeError)]:
        with pytest.raises(error, match="batch_size must be"):
            distributed.first_sample(batch)
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, but it is 3"):
        distributed.first_sample(16, generator=3)
