"""fast_gradient_penalty against the textbook, on every critic."""

import itertools

import pytest
import torch

from tests.comparing import (
    EXACT,
    assert_close,
    assert_same_gradients,
    every_critic,
    every_double_backward,
    gradients_of,
)
from tests.critics import CRITICS, NAMED, CriticCase
from tests.textbook import textbook_gradient_penalty
from wgan_fast import fast_gradient_penalty

#: one_sided, target, reduction
VARIANTS = list(itertools.product([False, True], [0.0, 1.0], ["mean", "sum", "none", "max"]))


def compare(case: CriticCase, variant=(False, 1.0, "mean"), rtol=EXACT, **arguments):
    """Ours (with ``arguments``) and the textbook's penalty, norms and gradients are the same."""
    one_sided, target, reduction = variant
    common = {
        "epsilon": case.epsilon(),
        "one_sided": one_sided,
        "target": target,
        "reduction": reduction,
        "return_norms": True,
        **case.arguments(),
    }
    ours_module, ours_critic = case.make()
    theirs_module, theirs_critic = case.make()
    ours, norms = fast_gradient_penalty(ours_critic, *case.samples(), **common, **arguments)
    theirs, their_norms = textbook_gradient_penalty(theirs_critic, *case.samples(), **common)
    assert_close(norms, their_norms, rtol)
    assert_close(ours, theirs, rtol)
    assert_same_gradients(
        gradients_of(ours, ours_module), gradients_of(theirs, theirs_module), rtol
    )


@every_critic()
def test_every_critic(case, double_backward, backend):
    # each critic gets one reduction, with both sides and both targets
    for variant in VARIANTS[CRITICS.index(case) % 4 :: 4]:
        compare(case, variant, backend=backend, double_backward=double_backward)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("name", ["mlp_relu", "mlp_tanh", "dcgan", "projection_labels_in_kwargs"])
@every_double_backward
def test_every_variant(name, variant, double_backward, backend):
    compare(NAMED[name], variant, backend=backend, double_backward=double_backward)


def test_critics_have_norms_on_both_sides_of_the_target():
    """Or the comparisons above would hold for a one-sided penalty that is always zero."""
    alike = {"linear", "batch_first_last"}
    for case in CRITICS:
        _, norms = textbook_gradient_penalty(
            case.make()[1],
            *case.samples(),
            epsilon=case.epsilon(),
            return_norms=True,
            **case.arguments(),
        )
        assert norms.max() > 1
        assert case.name in alike or norms.min() < 1


def test_plain_double_backward_of_fused_attention_is_refused():
    case = NAMED["attention"]
    with pytest.raises(RuntimeError, match=r"attention.* is not implemented"):
        compare(case, double_backward="plain")


@every_critic()
def test_loss_backward_leaves_the_same_grads(case, double_backward):
    """In a whole critic loss, by ``backward()``: also which parameters have none."""
    grads = []
    for penalty_of, choice in [
        (fast_gradient_penalty, {"double_backward": double_backward}),
        (textbook_gradient_penalty, {}),
    ]:
        module, critic = case.make()
        real, fake = case.samples()
        given = case.arguments()
        penalty = penalty_of(critic, real, fake, epsilon=case.epsilon(), **given, **choice)
        args, kwargs = given.get("critic_args", ()), given.get("critic_kwargs", {})
        loss = critic(fake, *args, **kwargs).mean() - critic(real, *args, **kwargs).mean() + penalty
        if loss.requires_grad:
            loss.backward()
        grads.append([p.grad for p in module.parameters()])
    assert_same_gradients(*grads)


@every_critic()
def test_autograd_grad_without_allow_unused(case, double_backward):
    """It raises, for a parameter that the penalty does not depend on, if the textbook's does."""
    used = []
    for penalty_of, choice in [
        (fast_gradient_penalty, {"double_backward": double_backward}),
        (textbook_gradient_penalty, {}),
    ]:
        module, critic = case.make()
        penalty = penalty_of(
            critic, *case.samples(), epsilon=case.epsilon(), **case.arguments(), **choice
        )
        used.append([_has_gradient(penalty, p) for p in module.parameters()])
    assert used[0] == used[1]


def _has_gradient(penalty, parameter):
    try:
        torch.autograd.grad(penalty, parameter, retain_graph=True)
    except RuntimeError as error:
        if "appears to not have been used" in str(error) or "does not require grad" in str(error):
            return False
        raise
    return True


@every_critic()
def test_single_precision(case, double_backward):
    """Every critic runs in float32 too, and the penalty is that of float64 up to rounding."""
    real, fake = case.samples(dtype=torch.float32)
    module, critic = case.make(torch.float32)
    penalty = fast_gradient_penalty(
        critic, real, fake, epsilon=case.epsilon(dtype=torch.float32), **case.arguments(),
        double_backward=double_backward,
    )  # fmt: skip
    exact = textbook_gradient_penalty(
        case.make()[1], real.double(), fake.double(), target=1.0,
        epsilon=case.epsilon(dtype=torch.float32).double(), **case.arguments(),
    )  # fmt: skip
    assert penalty.dtype == torch.float32
    # an error e of the norms, which are about 1, changes the penalty by 2 * lambda * |n - 1| * e
    assert penalty.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5)
    for parameter, grad in zip(module.parameters(), gradients_of(penalty, module), strict=True):
        assert grad is None or (grad.dtype == parameter.dtype and grad.isfinite().all())
