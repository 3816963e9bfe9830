"""What one thread captures is its own affair, and nothing of it stays."""

import queue
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.captured import training
from tests.captured.training import replayed, samples
from wgan_fast import critic_loss
from wgan_fast._being_captured import being_captured, conditions_are_kept, has_turn
from wgan_fast.second_order import _adding_functions, without_thresholds

#: Nobody waits so long, unless something is wrong.
SECONDS = 60


def hidden(function):
    """Where a captured function does not see that it has to do with this one."""
    box = queue.SimpleQueue()
    for _ in range(3):  # it runs once, and is recorded twice
        box.put(function)
    return box


def in_another_thread(function):
    """Starts it; what is returned waits for its result, and raises what it raised."""
    results = queue.SimpleQueue()

    def run():
        try:
            results.put((function(), None))
        except BaseException as error:  # raised where somebody waits
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()

    def wait():
        result, error = results.get(timeout=SECONDS)
        if error is not None:
            raise error
        return result

    return wait


def nothing_stays():
    return not (being_captured() or conditions_are_kept() or has_turn())


def test_an_eager_loss_meanwhile_is_proved(monkeypatch):
    """That its backward pass can be shared; here it cannot, for the biases are overlooked."""
    read = _adding_functions.READERS[F.linear]

    def forgetful(input, weight, bias=None):
        return read(input, weight)

    monkeypatch.setitem(_adding_functions.READERS, F.linear, forgetful)
    critic, (real, fake) = training.mlp().double(), samples((8, 5))

    def whole_step():
        with without_thresholds():
            total, parts = critic_loss(critic, real, fake, r1=1.0, return_parts=True)
        return total.item(), parts.ways["real"]

    seen = queue.SimpleQueue()

    def loss(x):
        if being_captured():
            seen.put(in_another_thread(whole_step)())
        return x.sum()

    replayed(loss)(torch.ones(2))
    expected = critic(fake).mean() - critic(real).mean()
    points = real.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points)
    expected = (expected + 0.5 * slopes.square().sum(1).mean()).item()
    assert seen.qsize() == 2
    for _ in range(2):
        value, way = seen.get()
        assert value == pytest.approx(expected, rel=1e-12)
        assert way.startswith("shared forward: its scores are not what")


@pytest.fixture
def alone():
    """A group of one process."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed"
)


@needs_distributed
def test_captures_that_overlap_leave_nothing(alone):
    """The first is recorded; the second runs eagerly where it is called meanwhile."""
    forward = DistributedDataParallel.forward
    net, another = (DistributedDataParallel(nn.Linear(2, 1)) for _ in range(2))
    second_is_there, first_is_done = threading.Event(), threading.Event()
    runs, waits = [queue.SimpleQueue(), queue.SimpleQueue()], queue.SimpleQueue()

    def first(x):
        runs[0].put(None)
        if runs[0].qsize() == 2:  # while it is recorded
            waits.put(in_another_thread(meanwhile.get()))
            assert second_is_there.wait(SECONDS)
        return net(x).sum()

    def second(x):
        runs[1].put(None)
        if runs[1].qsize() == 2:  # if it is recorded, too
            second_is_there.set()
            assert first_is_done.wait(SECONDS)
        return another(x).sum()

    def call_second():
        second_loss(torch.ones(3, 2)).backward()
        second_is_there.set()
        return nothing_stays()

    meanwhile = hidden(call_second)
    first_loss, second_loss = replayed(first), replayed(second)
    first_loss(torch.ones(3, 2)).backward()
    first_is_done.set()
    assert waits.get()()
    assert nothing_stays()
    assert DistributedDataParallel.forward is forward
    assert (runs[0].qsize(), runs[1].qsize()) == (3, 1)
    assert second_loss.report().graphs == ()
    second_loss(torch.ones(3, 2)).backward()
    assert second_loss(torch.ones(3, 2)) == second_loss.eager(torch.ones(3, 2))
    assert [graph.runs for graph in second_loss.report().graphs] == [1]
    assert torch.equal(another.module.weight.grad, torch.full((1, 2), 6.0))


@needs_distributed
def test_gradients_are_averaged_in_another_thread_meanwhile(alone):
    net, another = (DistributedDataParallel(nn.Linear(2, 1)) for _ in range(2))
    averaged, recorded = queue.SimpleQueue(), queue.SimpleQueue()

    def average(state, bucket):
        averaged.put(None)
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    another.register_comm_hook(None, average)
    meanwhile = hidden(lambda: another(torch.ones(3, 2)).sum().backward())

    def loss(x):
        if being_captured():
            recorded.put(None)
            in_another_thread(meanwhile.get())()
        return net(x).sum()

    replayed(loss)(torch.ones(3, 2))
    assert averaged.qsize() == recorded.qsize() == 2


@pytest.mark.parametrize("run", [1, 2])
def test_a_function_may_wait_for_a_thread_that_captures(run):
    """In its first run, and while it is recorded."""
    runs, values = queue.SimpleQueue(), queue.SimpleQueue()
    inner = replayed(lambda: torch.ones(2).sum())

    def loss(x):
        runs.put(None)
        if runs.qsize() == run:
            values.put(in_another_thread(inner)())
        return x.sum()

    assert replayed(loss)(torch.ones(3)) == 3
    assert values.get() == 2
    assert inner.report().graphs == ()


class Deep(torch.autograd.Function):
    """Backward passes in one another, so deep that PyTorch goes on in a thread of its own, as it
    does on a device."""

    @staticmethod
    def forward(ctx, x, depth, seen):
        ctx.depth, ctx.seen = depth, seen
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if ctx.depth == 0:
            ctx.seen.put((threading.get_ident(), being_captured()))
            return gradient, None, None
        with torch.enable_grad():
            x = torch.ones_like(gradient, requires_grad=True)
            y = Deep.apply(x, ctx.depth - 1, ctx.seen)
            return torch.autograd.grad(y, x, gradient)[0], None, None


def test_threads_of_a_backward_pass_belong_to_it():
    seen, weight = queue.SimpleQueue(), torch.tensor(2.0, requires_grad=True)
    loss = replayed(lambda x: Deep.apply(weight * x, 70, seen))
    loss(torch.tensor(3.0))
    threads, captures = zip(*(seen.get() for _ in range(3)), strict=True)
    assert threading.get_ident() not in threads
    assert captures == (False, True, True)  # it runs once, and is recorded twice
    loss(torch.tensor(3.0)).backward()
    assert weight.grad == 3
