"""The training iteration of the race, and who freezes the critic in it."""

import torch

from benchmarks.contestants import eager
from benchmarks.flops import flops_of
from benchmarks.problems import critics
from benchmarks.race.agreement import enter
from benchmarks.suites import penalty, step


def generator():
    return critics.vector_generator(2, 16, 1)


def test_frozen_spares_one_pass_and_changes_no_number():
    def build(freeze):
        gradients = eager.eager_gradients("wgan_fast")
        make = eager.iteration(penalty.TINY, generator, "wgan_fast", gradients, freeze=freeze)
        return make(torch.float64, 8)

    epsilon = torch.rand(8, dtype=torch.float64)
    for ours, theirs in zip(build(True)(epsilon), build(False)(epsilon), strict=True):
        assert torch.equal(ours, theirs)
    critic, samples = penalty.TINY.critic(torch.float64), torch.randn(8, 2, dtype=torch.float64)
    spared = flops_of(lambda: build(False)(epsilon)) - flops_of(lambda: build(True)(epsilon))
    assert spared == flops_of(lambda: critic(samples))


def test_all_agree():
    case = step.iteration(penalty.TINY, generator)
    del case.contestants["torch.compile"]  # which takes long
    assert list(enter(case).steps) == list(step.TORCH)
