"""Leaves that only cut paths lead to get zeros, sparse where PyTorch's are."""

import pytest
import torch
from torch import nn

from tests.second_order.twice import penalty_of, points
from wgan_fast.second_order import prune_zero_paths


class Labels(nn.Module):
    """A label's embedding, added before an activation: only cut paths lead to it."""

    def __init__(self, kind):
        super().__init__()
        if kind == "embedding_bag":
            self.classes = nn.EmbeddingBag(9, 16, sparse=True, mode="sum")
        else:
            self.classes = nn.Embedding(9, 16, sparse=kind != "dense", padding_idx=2)
        self.first, self.score = nn.Linear(5, 16), nn.Linear(16, 1)
        self.kind = kind

    def forward(self, x):
        labels = torch.tensor([1, 2, 1, 7])
        added = self.classes(labels[:, None] if self.kind == "embedding_bag" else labels)
        if self.kind == "twice":
            added = added + self.classes(labels.flip(0))
        if self.kind == "both ways":
            added = added + self.classes.weight.sum(0)
        return self.score((self.first(x) + added).relu())


@pytest.mark.parametrize("kind", ["sparse", "dense", "twice", "both ways", "embedding_bag"])
def test_zeros_are_sparse_where_pytorchs_are(kind):
    critic, x = Labels(kind).double(), points(4, 5)
    grads = []
    for prune in (lambda gradients: gradients, prune_zero_paths):
        critic.zero_grad()
        penalty_of(critic, x, prune).backward()
        grads.append(critic.classes.weight.grad)
    theirs, ours = grads
    assert ours.layout == theirs.layout
    assert ours.is_sparse == (kind not in ("dense", "both ways"))
    if ours.is_sparse:  # an optimiser for sparse gradients looks at the indices
        theirs, ours = theirs.coalesce(), ours.coalesce()
        assert torch.equal(ours.indices(), theirs.indices())
        theirs, ours = theirs.values(), ours.values()
    assert torch.equal(ours, theirs)
    assert not ours.any()
