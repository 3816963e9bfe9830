"""What only a real GPU can show: streams, graphs, devices, determinism, the whole penalty."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.simt.cases import ALL, Case
from wgan_fast import captured, fast_gradient_penalty, ops

from .backend import OPERATORS, to_gpu, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"CUDA kernels: {why_not()}")

SETTINGS = (1.0, False, 2.0, 10.0, True)
LONG, SHORT = Case(3, 20000), Case(5000, 2)


def penalty_of(gradients: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return torch.ops.wgan_fast.norm_penalty(gradients, *SETTINGS)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_every_path(case: Case) -> None:
    x = case.batch_of(torch.float32)
    penalty, norms = OPERATORS["norm_penalty"](x, *SETTINGS)
    torch.testing.assert_close(norms.double(), x.double().norm(dim=1), rtol=1e-6, atol=0)
    want = 10 * ((x.double().norm(dim=1) - 1) ** 2).sum()
    torch.testing.assert_close(penalty.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [LONG, SHORT, Case(64, 2048)], ids=str)
def test_the_same_bits_every_time(case: Case) -> None:
    x = case.batch_of(torch.float32).cuda()
    first = penalty_of(x)
    for _ in range(20):
        for a, b in zip(penalty_of(x), first, strict=True):
            assert torch.equal(a, b)


def test_many_streams_at_once() -> None:
    """Each stream draws its own tickets."""
    batches = [LONG.batch_of(torch.float32, seed=i).cuda() for i in range(8)]
    want = [penalty_of(x)[0].item() for x in batches]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in batches]
    results: list[list[Tensor]] = [[] for _ in batches]
    for _ in range(50):
        for x, stream, found in zip(batches, streams, results, strict=True):
            with torch.cuda.stream(stream):
                found.append(penalty_of(x)[0])
    torch.cuda.synchronize()
    for found, value in zip(results, want, strict=True):
        assert {r.item() for r in found} == {value}


def test_work_waits_for_the_current_stream() -> None:
    stream = torch.cuda.Stream()
    x = torch.zeros(64, 2**16, device="cuda")
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10**8)
        x.fill_(1.0)
        _, norms = penalty_of(x)
    stream.synchronize()
    assert torch.equal(norms.cpu(), torch.full((64,), 256.0))


@pytest.mark.parametrize("case", [LONG, SHORT], ids=str)
def test_graph_of_the_norms(case: Case) -> None:
    """A captured launch clears its own ticket, at every replay, beside eager launches."""
    x = case.batch_of(torch.float32).cuda()
    penalty_of(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        penalty, norms = penalty_of(x)
    for factor in (1.0, 0.5, 3.0):
        x.mul_(factor)
        for _ in range(3):
            graph.replay()
        eager, eager_norms = penalty_of(x)
        torch.cuda.synchronize()
        assert torch.equal(penalty, eager)
        assert torch.equal(norms, eager_norms)


def test_a_graph_draws_anew_at_every_replay() -> None:
    real, fake = torch.ones(64, 4, device="cuda"), torch.zeros(64, 4, device="cuda")
    seed = torch.zeros((), dtype=torch.int64, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        mixed = torch.ops.wgan_fast.random_interpolate(real, fake, seed, 0)
    draws = []
    for value in (1, 2, 1):
        seed.fill_(value)
        graph.replay()
        draws.append(mixed[:, 0].cpu())
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[0], ops.drawn_epsilon(torch.ones(64, 4), torch.tensor(1)))


def test_a_graph_of_the_whole_penalty() -> None:
    critic = critic_on("cuda", torch.float32)
    real, fake = torch.randn(2, 32, 10, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            fast_gradient_penalty(critic, real, fake).backward()
    torch.cuda.current_stream().wait_stream(side)
    critic.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        penalty = fast_gradient_penalty(critic, real, fake)
        penalty.backward()
    values = set()
    for _ in range(5):
        graph.replay()
        values.add(penalty.item())
    assert len(values) == 5
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


@pytest.mark.parametrize("executor", ["replay", "cuda_graph"])
def test_a_captured_loss(executor: str) -> None:
    """The same losses, gradients, weights and draws as eager's, over several steps."""
    results = []
    for name in (executor, "eager"):
        torch.manual_seed(0)
        critic = critic_on("cuda", torch.float32)

        def loss(real: Tensor, fake: Tensor, critic: nn.Module = critic) -> Tensor:
            penalty = fast_gradient_penalty(critic, real, fake)
            return critic(fake).mean() - critic(real).mean() + penalty

        step = loss if name == "eager" else captured(loss, executor=name)
        optimiser = torch.optim.SGD(critic.parameters(), 1e-2)
        seen = []
        for _ in range(4):
            optimiser.zero_grad()
            value = step(*torch.randn(2, 32, 10).cuda())
            value.backward()
            optimiser.step()
            seen.append(value.detach())
        results.append([*seen, *(p.detach() for p in critic.parameters()), torch.rand(1)])
    for ours, theirs in zip(*results, strict=True):
        # Kernels that are merged round otherwise, in float32, and four steps add up.
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len({value.item() for value in results[0][:4]}) == 4


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="only one GPU")
def test_the_device_of_the_samples_not_the_current_one() -> None:
    x = torch.randn(8, 5000, device="cuda:1")
    assert torch.cuda.current_device() == 0
    _, norms = penalty_of(x)
    assert torch.cuda.current_device() == 0
    torch.testing.assert_close(norms, x.norm(dim=1))


def test_a_seed_on_either_side_draws_the_same() -> None:
    real, fake = torch.randn(2, 100, 7, device="cuda")
    seed = torch.tensor(-5)
    with torch.no_grad():
        draws = [
            torch.ops.wgan_fast.random_interpolate(real, fake, s, 3) for s in (seed, seed.cuda())
        ]
    assert torch.equal(*draws)


def test_misaligned_copies_are_misaligned() -> None:
    x = torch.randn(50)[1:].view(7, 7)
    moved = to_gpu(x)
    assert moved.data_ptr() % 16 == x.data_ptr() % 16
    assert torch.equal(moved.cpu(), x)


def critic_on(device: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(10, 32), nn.LeakyReLU(), nn.Linear(32, 1))
    return critic.to(device, dtype)


def test_the_penalty_and_its_gradient_are_those_of_the_cpu() -> None:
    real, fake = torch.randn(2, 32, 10, dtype=torch.float64)
    epsilon = torch.rand(32, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        critic = critic_on(device, torch.float64)
        penalty = fast_gradient_penalty(
            critic, real.to(device), fake.to(device), epsilon=epsilon.to(device)
        )
        penalty.backward()
        grads = [p.grad.cpu() for p in critic.parameters() if p.grad is not None]
        found.append([penalty.detach().cpu(), *grads])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
