"""Parts of a critic under torch.utils.checkpoint are computed again by the layers of the call."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from tests.second_order.twice import assert_exact, by_grad, leaves_of, penalty_of, points
from wgan_fast import fast_gradient_penalty
from wgan_fast.second_order import efficient_double_backward, twice_differentiable_backends


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.enter(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return x + self.leave(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Module(nn.MultiheadAttention):
    def forward(self, x):
        return x + super().forward(x, x, x, need_weights=False)[0]


BLOCKS = {
    "functional": Functional,
    "module": lambda: Module(8, 2, batch_first=True),
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
    "convolution": lambda: nn.Sequential(nn.Conv1d(6, 6, 3, padding=1), nn.LeakyReLU(0.2)),
}


def again(function, x):
    return checkpoint(function, x, use_reentrant=False)


class Critic(nn.Module):
    """Two blocks, checkpointed one by one, together, one in the other, or not at all."""

    def __init__(self, block, how):
        super().__init__()
        self.first, self.second, self.score = block(), block(), nn.Linear(8, 1)
        self.how = how

    def forward(self, x):
        both = lambda x: self.second(self.first(x))  # noqa: E731
        nested = lambda x: again(self.second, again(self.first, x.tanh())).sin()  # noqa: E731
        hidden = {
            "none": both,
            "each": lambda x: again(self.second, again(self.first, x)),
            "together": lambda x: again(both, x),
            "nested": lambda x: again(nested, x),
            "without": lambda x: self.second(self.first(x.tanh())).sin(),
        }[self.how](x)
        return self.score(hidden.mean(1))


def made(block, how):
    torch.manual_seed(3)
    return Critic(BLOCKS[block], how).double()


def expected(block, how, x):
    critic = made(block, "without" if how == "nested" else "none")
    return by_grad(
        penalty_of(critic, x, context=lambda: sdpa_kernel(SDPBackend.MATH)), leaves_of(critic, x)
    )


each_block = pytest.mark.parametrize("block", BLOCKS)
each_way = pytest.mark.parametrize("how", ["each", "together", "nested"])


@each_block
@each_way
def test_in_the_penalty(block, how):
    real = points(4, 6, 8).detach()
    theirs = expected(block, how, real.clone().requires_grad_())
    critic = made(block, how)
    for wrapped in (critic, lambda x: critic(x)):
        for options in ({}, {"chunk_size": 2}, {"chunk_size": 3, "reduction": "none"}):
            for _ in range(2):  # what is learned from the first call must not harm the second
                penalty = fast_gradient_penalty(
                    wrapped, real, real, epsilon=torch.ones(4).double(), lambda_gp=1.0, **options
                ).mean()
                ours = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
                assert_exact(list(ours), theirs[1:])


@each_block
@each_way
@pytest.mark.parametrize("context", [twice_differentiable_backends, efficient_double_backward])
def test_in_the_contexts(block, how, context):
    x = points(4, 6, 8)
    critic = made(block, how)
    ours = by_grad(penalty_of(critic, x, context=context), leaves_of(critic, x))
    assert_exact(ours, expected(block, how, x))


def test_scores_beside_it_keep_their_own_attention():
    """A checkpoint outside of the context computes again as it did, in the same backward pass."""
    x, critic = points(4, 6, 8), made("functional", "each")
    scores = critic(x.detach())
    penalty = penalty_of(critic, x, context=twice_differentiable_backends)
    assert torch.backends.cuda.flash_sdp_enabled()
    (scores.mean() + penalty).backward()
    assert torch.backends.cuda.flash_sdp_enabled()
