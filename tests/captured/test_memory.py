"""A replayed graph needs no more memory than the function, and dies with it."""

import gc
import queue
import weakref

import pytest
import torch
from torch import nn

from tests.captured import training
from tests.captured.training import replayed, samples
from tests.memory import PeakMemory
from wgan_fast import captured


def peak_of(critic, loss, batch):
    critic.zero_grad()
    with PeakMemory() as memory:
        loss(*batch).backward()
    return memory.peak


@pytest.mark.parametrize("kind", ["gradient_penalty", "textbook", "r1"])
def test_a_step_needs_no_more_than_eager(kind):
    torch.manual_seed(0)
    critic = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(64, 64), nn.LeakyReLU(0.2))))
    loss = replayed(training.LOSSES[kind](critic))
    batch = samples((256, 64), torch.float32)
    for fn in (loss, loss, loss.eager):
        peak_of(critic, fn, batch)
    outputs = sum(p.numel() * p.element_size() for p in critic.parameters())
    assert peak_of(critic, loss, batch) <= peak_of(critic, loss.eager, batch) + outputs


@pytest.mark.parametrize("decorated", [True, False])
def test_graphs_die_with_the_function(decorated):
    critic = training.mlp()
    loss = training.gradient_penalty(critic)
    loss = captured(executor="replay")(loss) if decorated else captured(loss, executor="replay")
    for _ in range(2):
        loss(*samples((8, 5), torch.float32)).backward()
    parameter, graph = weakref.ref(critic[0].weight), weakref.ref(loss._graphs[0])
    del critic, loss
    gc.collect()
    assert (parameter(), graph()) == (None, None)


def test_graphs_of_methods_die_with_their_object():
    class Trainer:
        def __init__(self):
            self.critic = training.mlp()

        @captured(executor="replay")
        def loss(self, real, fake):
            return self.critic(real).mean() - self.critic(fake).mean()

    trainer = Trainer()
    for _ in range(2):
        trainer.loss(*samples((8, 5), torch.float32)).backward()
    graph = weakref.ref(trainer.loss._graphs[0])
    del trainer
    gc.collect()
    assert graph() is None


def test_what_was_recorded_dies():
    critic, recorded = training.mlp(), queue.SimpleQueue()

    def loss(real, fake):
        value = critic(real).mean() - critic(fake).mean()
        logged = value.detach().clone()
        recorded.put((weakref.ref(value), weakref.ref(logged)))
        return value, logged, "a word"

    step = captured(loss, executor="replay")
    for _ in range(2):
        value, logged, word = step(*samples((8, 5), torch.float32))
        assert (value, word) == (logged, "a word")
    del value, logged
    gc.collect()
    assert recorded.qsize() == 3  # it ran once, and was recorded twice
    assert {ref() for _ in range(3) for ref in recorded.get()} == {None}


def test_a_call_leaves_nothing_alive():
    critic = training.mlp()
    loss = replayed(training.gradient_penalty(critic))
    batch = samples((8, 5), torch.float32)
    value = loss(*batch)
    for _ in range(2):
        value = loss(*batch)
        value.backward()
    critic.zero_grad()
    with PeakMemory() as memory:
        value = loss(*batch)
        value.backward()
        del value
        critic.zero_grad()
    assert memory.now == 0
