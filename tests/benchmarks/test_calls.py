"""What is counted as a call, and how many a penalty makes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.calls import CallCounter, calls_and_bytes_of
from benchmarks.problems.critics import dcgan
from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import _native as native

#: The most calls, and bytes, of one penalty with its backward pass.
MOST = {nn.SiLU: (101, 1.2e9), nn.GELU: (101, 1.2e9), nn.Tanh: (102, 1.21e9)}


def test_views_and_memory_without_values_are_no_calls():
    x = torch.ones(4, 6)
    with CallCounter() as counter:
        y = x.t()[1:].unsqueeze(0).detach()
        torch.empty_like(y)
        y.squeeze(0).add(1)
    assert dict(counter.calls_of) == {"add": 1}
    assert counter.bytes == 2 * 20 * 4


def test_inputs_and_outputs_are_counted():
    x = torch.ones(3, 5, dtype=torch.float64)
    assert calls_and_bytes_of(lambda: torch.add(x, x, alpha=2)) == (1, 3 * 15 * 8)
    assert calls_and_bytes_of(lambda: torch.cat([x, x])) == (1, 4 * 15 * 8)


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@pytest.mark.parametrize("activation", MOST)
def test_the_penalty_of_a_smooth_critic(activation):
    """DCGAN 64x64, batch 64, float32: PyTorch's own takes up to 134 calls and 2.3 GB."""
    critic = dcgan(64, 64, activation)
    real, fake = torch.randn(2, 64, 3, 64, 64)

    def step():
        critic.zero_grad()
        fast_gradient_penalty(critic, real, fake).backward()

    step()
    calls, moved = calls_and_bytes_of(step)
    most_calls, most_bytes = MOST[activation]
    assert calls <= most_calls
    assert moved <= most_bytes
