"""Samples and parameters that are spread over processes as DTensor."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
)

from tests.comparing import assert_close, assert_same_gradients
from tests.distributed.processes import ProcessError
from wgan_fast import (
    approximate_r1,
    critic_loss,
    dragan_penalty,
    fast_gradient_penalty,
    max_gradient_penalty,
    r1_penalty,
)


def seeded():
    return {"generator": torch.Generator().manual_seed(3)}


#: What is called with a critic, real and fake samples and mixing factors.
PENALTIES = {
    "wgan_gp": lambda c, real, fake, eps: fast_gradient_penalty(c, real, fake, epsilon=eps),
    "norm_1": lambda c, real, fake, eps: fast_gradient_penalty(c, real, fake, epsilon=eps, norm=1),
    "drawn": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, backend="pytorch", **seeded()
    ),
    "drawn_by_philox": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, first_sample=0, **seeded()
    ),
    "max": lambda c, real, fake, eps: max_gradient_penalty(c, real, fake, epsilon=eps),
    "r1_in_chunks": lambda c, real, fake, eps: r1_penalty(c, real, chunk_size=4),
    "r1_of_a_subset": lambda c, real, fake, eps: r1_penalty(c, real, subset=0.5, **seeded()),
    "dragan": lambda c, real, fake, eps: dragan_penalty(c, real, **seeded()),
    "dragan_by_philox": lambda c, real, fake, eps: dragan_penalty(
        c, real, first_sample=0, **seeded()
    ),
    "approximate_r1": lambda c, real, fake, eps: approximate_r1(c, real, sigma=0.5, **seeded()),
    "critic_loss": lambda c, real, fake, eps: critic_loss(
        c, real, fake, gp=1.0, r1=1.0, epsilon=eps
    ),
    "finite_difference": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, epsilon=eps, double_backward="finite_difference"
    ),
    "finite_difference_by_the_reference": lambda c, real, fake, eps: fast_gradient_penalty(
        c, real, fake, epsilon=eps, double_backward="finite_difference", backend="reference"
    ),
}


def critic_and_samples():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1)).double()
    return critic, *torch.randn(2, 8, 6, dtype=torch.float64), torch.rand(8, dtype=torch.float64)


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def results(names, critic, *given):
    """Of each of these penalties its value and its gradients."""
    found = {}
    for name in names:
        critic.zero_grad()
        value = PENALTIES[name](critic, *given)
        value.backward()
        gradients = [None if p.grad is None else whole(p.grad) for p in critic.parameters()]
        found[name] = whole(value.detach()), gradients
    return found


def results_of_this_rank(names, placement):
    mesh = init_device_mesh("cpu", (2,))
    critic, *samples, epsilon = critic_and_samples()
    real, fake = (distribute_tensor(tensor, mesh, [placement]) for tensor in samples)
    factors = placement if placement == Shard(0) else Replicate()
    torch.manual_seed(torch.distributed.get_rank())  # what one draws must reach the other
    critic = distribute_module(critic, mesh)
    return results(names, critic, real, fake, distribute_tensor(epsilon, mesh, [factors]))


ALONE = tuple(name for name in PENALTIES if name != "critic_loss")
TOGETHER = pytest.param(
    ("critic_loss",),
    marks=pytest.mark.skipif(
        torch.__version__ < "2.13",
        reason="before PyTorch 2.13, a DTensor that is a sum cannot be added to one that is a mean",
    ),
)


@pytest.mark.parametrize("placement", [Shard(0), Shard(1), Replicate()], ids=str)
@pytest.mark.parametrize("names", [ALONE, TOGETHER], ids=["penalties", "critic_loss"])
def test_penalties_of_distributed_samples(pair, names, placement):
    alone = results(names, *critic_and_samples())
    for found in pair.run(results_of_this_rank, names, placement):
        for name, (expected, gradients) in alone.items():
            if name == "max" and placement == Shard(0):
                # PyTorch's own amax of a DTensor whose entries are spread: its gradient is NaN
                assert_close(found[name][0], expected)
                continue
            # Rounding of scores, 1e-16 and a little, is divided by the step: of differences, 1e-6
            # of the samples; of approximate R1, 1e-2, whose square is taken.
            rtol = 1e-8 if "finite" in name else 1e-11 if "approximate" in name else 1e-12
            assert_close(found[name][0], expected, rtol)
            assert_same_gradients(found[name][1], gradients, rtol)


def ask_for_kernels():
    mesh = init_device_mesh("cpu", (2,))
    real = distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)])
    r1_penalty(lambda x: (x**2).sum(1), real, backend="native")


def test_kernels_are_refused(pair):
    with pytest.raises(ProcessError, match=r'backend="native" .* another type than torch\.Tensor'):
        pair.run(ask_for_kernels)
