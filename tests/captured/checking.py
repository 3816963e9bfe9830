"""Compares a captured function with itself, and counts its graphs."""

import torch


def check(net, loss, x, graphs):
    """Value and gradients of the function, and how many graphs there are."""
    for _ in range(2):
        results = []
        for fn in (loss, loss.eager):
            net.zero_grad()
            value = fn(x)
            if value.requires_grad:
                value.backward()
            results.append([value.detach(), *(p.grad for p in net.parameters())])
        for a, b in zip(*results, strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)
    assert len(loss.report().graphs) == graphs


X = torch.linspace(-1, 1, 12).reshape(4, 3)
