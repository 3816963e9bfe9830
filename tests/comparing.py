"""How the tests compare a penalty and its gradients with the textbook's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.critics import CRITICS, CriticCase

#: The largest relative difference in float64 that counts as equal.
EXACT = 1e-12

#: Double backwards; see the fixture ``double_backward``.
DOUBLE_BACKWARDS = ["pruned", "always", "plain"]

every_double_backward = pytest.mark.parametrize("double_backward", DOUBLE_BACKWARDS, indirect=True)


def every_critic(cases: Sequence[CriticCase] = CRITICS) -> pytest.MarkDecorator:
    """Each case with each double backward that it has."""
    pairs = [
        pytest.param(case, choice, id=f"{case.name}-{choice}")
        for case in cases
        for choice in DOUBLE_BACKWARDS
        if not (case.fused_attention and choice == "plain")
    ]
    return pytest.mark.parametrize(("case", "double_backward"), pairs, indirect=["double_backward"])


Gradients = list[Tensor | None]


def gradients_of(penalty: Tensor, module: nn.Module) -> Gradients:
    """The gradient of every parameter; None where there is none."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    found = iter(())
    if penalty.requires_grad and wanted:
        # Another weight for each sample: "none" must keep the samples apart.
        weights = torch.linspace(0.5, 1.5, penalty.numel(), dtype=penalty.dtype)
        outgoing = weights.reshape(penalty.shape)
        found = iter(torch.autograd.grad(penalty, wanted, outgoing, allow_unused=True))
    return [next(found, None) if p.requires_grad else None for p in module.parameters()]


def assert_close(ours: Tensor, theirs: Tensor, rtol: float = EXACT, atol: float = 0.0) -> None:
    """Equal shape and dtype, and entries that differ by ``rtol`` of the largest at most."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    difference = (ours - theirs).detach().abs().max().item()
    limit = max(rtol * theirs.detach().abs().max().item(), atol)
    assert difference <= limit, f"they differ by {difference:.3g}, more than {limit:.3g}"


def assert_same_gradients(
    ours: Sequence[Tensor | None], theirs: Sequence[Tensor | None], rtol: float = EXACT
) -> None:
    """The same parameters have a gradient, zero where the other is zero, and they are close.

    Close means relative to the parameter's largest entry. Where theory says zero and the textbook
    finds rounding noise (a bias before instance normalisation), that entry says nothing: less than
    a thousandth of the largest gradient of all parameters is not asked for.
    """
    assert [g is None for g in ours] == [g is None for g in theirs]
    largest = max((g.abs().max().item() for g in theirs if g is not None), default=0.0)
    for a, b in zip(ours, theirs, strict=True):
        if a is not None and b is not None:
            exactly_zero = not b.any()
            assert_close(a, b, rtol, atol=0.0 if exactly_zero else 1e-3 * rtol * largest)
