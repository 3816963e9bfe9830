"""One draw for the batch of four real processes, with what wgan_fast.distributed tells them."""

import pytest
import torch
import torch.distributed as dist

from tests.comparing import assert_close
from tests.distributed.processes import ProcessError
from tests.distributed.training import CLOSE
from wgan_fast import approximate_r1, critic_loss, distributed, dragan_penalty, r1_penalty

#: How many samples each rank has.
SIZES = [3, 8, 2, 7]


class Watched:
    """A critic that keeps the points of its last call."""

    def __call__(self, x):
        self.points = x.detach().clone()
        return (x**2).sum(1)


def the_batch():
    """Real samples, whose standard deviation is the same in every part, and fake ones."""
    real = torch.tensor([1.0, -1.0]).repeat(sum(SIZES), 3)
    return real, torch.randn(real.shape, generator=torch.Generator().manual_seed(1))


def two_steps(real, fake):
    """The points of the critic for everything that draws, in two steps."""
    generator = torch.Generator().manual_seed(5)
    critic, seen = Watched(), {}
    for step in range(2):
        draw = {
            "generator": generator,
            "first_sample": distributed.first_sample(len(real), generator=generator),
        }
        calls = {
            "critic_loss": lambda draw=draw: critic_loss(critic, real, fake, gp=10.0, **draw),
            "dragan": lambda draw=draw: dragan_penalty(critic, real, **draw),
            "approximate_r1": lambda draw=draw: approximate_r1(critic, fake, **draw),
            "subset": lambda draw=draw: r1_penalty(critic, fake, subset=0.6, **draw),
        }
        for name, call in calls.items():
            call()
            seen[name, step] = critic.points
        torch.rand(len(real))  # other draws, as many as there are samples, are nobody's business
    return seen


def steps_of_this_rank():
    mine = slice(sum(SIZES[: dist.get_rank()]), sum(SIZES[: dist.get_rank() + 1]))
    return two_steps(*(samples[mine] for samples in the_batch()))


def test_four_processes_draw_what_one_does(four):
    alone = two_steps(*the_batch())
    together = four.run(steps_of_this_rank)
    for key, points in alone.items():
        assert torch.equal(torch.cat([seen[key] for seen in together]), points), key


def make_critic():
    torch.manual_seed(0)
    layers = torch.nn.Linear(6, 16), torch.nn.Softplus(), torch.nn.Linear(16, 1)
    return torch.nn.Sequential(*layers).double()


def trained(critic, real, fake):
    """The weights after three steps with penalties of everything that is drawn."""
    generator = torch.Generator().manual_seed(5)
    draw = {"first_sample": distributed.first_sample(len(real)), "generator": generator}
    weights = list(critic.parameters())
    for _ in range(3):
        subset = r1_penalty(critic, real, subset=0.6, **draw)
        loss = critic_loss(critic, real, fake, gp=10.0, **draw) + subset
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            if dist.is_initialized():
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
            weight.data -= 0.05 * gradient
    return [weight.detach() for weight in weights]


def trained_by_this_rank():
    real, fake = (samples.double().chunk(4)[dist.get_rank()] for samples in the_batch())
    return trained(make_critic(), real, fake)


def test_four_processes_train_as_one_does(four):
    """With equal batches, and averaged gradients."""
    alone = trained(make_critic(), *(samples.double() for samples in the_batch()))
    for weights in four.run(trained_by_this_rank):
        for ours, theirs in zip(weights, alone, strict=True):
            assert_close(ours, theirs, CLOSE)


def first_sample_in_a_group():
    """Of the ranks 1 and 3, which share a batch; and of all."""
    group = dist.new_group([1, 3])
    size = SIZES[dist.get_rank()]
    everyone = distributed.first_sample(size)
    try:
        return distributed.first_sample(size, group=group), everyone
    except ValueError as error:
        return str(error), everyone


def test_the_ranks_of_a_group(four):
    refused = "group must be one that this process belongs to, but it does not"
    assert four.run(first_sample_in_a_group) == [(refused, 0), (0, 3), (refused, 11), (8, 13)]


def with_seeds_of_their_own():
    seed = dist.get_rank() // 2
    distributed.first_sample(4, generator=torch.Generator().manual_seed(seed))


def test_generators_that_differ_are_refused(four):
    with pytest.raises(ProcessError, match="those of the ranks 2, 3 differ from that of rank 0"):
        four.run(with_seeds_of_their_own)
