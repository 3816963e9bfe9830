"""fast_gradient_penalty argument by argument: values, dtypes, layouts, modes of PyTorch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.comparing import (
    EXACT,
    assert_close,
    assert_same_gradients,
    every_double_backward,
    gradients_of,
)
from tests.critics import NAMED, mlp
from tests.textbook import textbook_gradient_penalty
from wgan_fast import fast_gradient_penalty
from wgan_fast.second_order._thresholds import thresholds_apply


@pytest.mark.parametrize("lambda_gp", [0, 0.5, 10, 1e3])
def test_lambda(lambda_gp, backend):
    case = NAMED["mlp_tanh"]
    module, critic = case.make()
    common = {"lambda_gp": lambda_gp, "epsilon": case.epsilon()}
    ours = fast_gradient_penalty(critic, *case.samples(), backend=backend, **common)
    theirs = textbook_gradient_penalty(critic, *case.samples(), **common)
    assert_close(ours, theirs)
    assert_same_gradients(gradients_of(ours, module), gradients_of(theirs, module))


def test_second_derivatives(backend):
    """The penalty's own gradient can be differentiated: the textbook's does."""
    case = NAMED["mlp_tanh"]
    second = []
    for penalty_of, choice in [
        (fast_gradient_penalty, {"backend": backend}),
        (textbook_gradient_penalty, {}),
    ]:
        module, critic = case.make()
        penalty = penalty_of(critic, *case.samples(), epsilon=case.epsilon(), **choice)
        weights = [p for name, p in module.named_parameters() if name.endswith("weight")]
        first = torch.autograd.grad(penalty, weights, create_graph=True)
        second.append(gradients_of(sum((g**2).sum() for g in first), module))
    assert_same_gradients(*second)


def test_two_backward_passes():
    case = NAMED["dcgan"]
    module, critic = case.make()
    penalty = fast_gradient_penalty(critic, *case.samples(), epsilon=case.epsilon())
    penalty.backward(retain_graph=True)
    once = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    penalty.backward()
    assert_same_gradients(
        [p.grad for p in module.parameters()], [None if g is None else 2 * g for g in once]
    )


def test_real_and_fake_are_detached():
    generator = nn.Linear(3, 5)
    critic = mlp(nn.Tanh)
    real = torch.randn(6, 5, requires_grad=True)
    fast_gradient_penalty(critic, real, generator(torch.randn(6, 3))).backward()
    assert real.grad is None
    assert all(p.grad is None for p in generator.parameters())
    assert critic[0].weight.grad.any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_norms_are_detached(reduction, chunk_size):
    real, fake = torch.randn(2, 5, 3)
    weight = torch.tensor([3.0, 0.0, 4.0], requires_grad=True)
    penalty, norms = fast_gradient_penalty(
        lambda x: x @ weight, real, fake, reduction=reduction, chunk_size=chunk_size,
        return_norms=True,
    )  # fmt: skip
    assert penalty.requires_grad
    assert not norms.requires_grad
    assert norms.tolist() == [5.0] * 5
    assert penalty.shape == ((5,) if reduction == "none" else ())


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_grad_gives_the_same_value_without_a_graph(chunk_size, reduction):
    case = NAMED["dcgan_smooth"]
    _, critic = case.make()
    given = {"epsilon": case.epsilon(), "chunk_size": chunk_size, "reduction": reduction}
    with_graph = fast_gradient_penalty(critic, *case.samples(), **given)
    with torch.no_grad():
        without = fast_gradient_penalty(critic, *case.samples(), **given)
    assert with_graph.requires_grad
    assert not without.requires_grad
    assert_close(without, with_graph)  # PyTorch may take other kernels where there is no graph


def test_samples_made_in_inference_mode():
    case = NAMED["mlp_silu"]
    module, critic = case.make()
    with torch.inference_mode():
        real, fake = (x.clone() for x in case.samples())
        epsilon = case.epsilon().clone()
    assert real.is_inference()
    ours = fast_gradient_penalty(critic, real, fake, epsilon=epsilon)
    theirs = textbook_gradient_penalty(critic, *case.samples(), epsilon=case.epsilon())
    assert_same_gradients(gradients_of(ours, module), gradients_of(theirs, module))
    torch.manual_seed(3)
    sliced = fast_gradient_penalty(critic, real, fake, chunk_size=2)
    torch.manual_seed(3)
    assert_close(sliced, fast_gradient_penalty(critic, *case.samples()))


def coarse(*shape):
    """Numbers that interpolate exactly in every precision when epsilon is a multiple of 1/4."""
    return torch.randint(-8, 8, shape) / 8


@pytest.mark.parametrize("name", ["dcgan", "mlp_silu", "projection_labels_in_kwargs"])
@every_double_backward
def test_autocast(name, double_backward, backend):
    case = NAMED[name]
    real, fake = coarse(2, case.batch, *case.shape)
    epsilon = torch.tensor([0.0, 0.25, 0.5, 1.0])
    results = []
    for penalty_of, choice in [
        (fast_gradient_penalty, {"backend": backend, "double_backward": double_backward}),
        (textbook_gradient_penalty, {}),
    ]:
        module, critic = case.make(torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            penalty = penalty_of(critic, real, fake, epsilon=epsilon, **case.arguments(), **choice)
        results.append((penalty, gradients_of(penalty, module)))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours.dtype == torch.float32
    if name == "mlp_silu" and not thresholds_apply():
        # Of each SiLU, PyTorch rounds many steps to bfloat16 where a kernel rounds once: so it is
        # held to float32. About 16 roundings to 9 bits for each of three linear layers.
        module, critic = case.make(torch.float32)
        exact = textbook_gradient_penalty(critic, real, fake, epsilon=epsilon)
        assert_close(ours, exact, rtol=48 * 2.0**-9)
        assert_same_gradients(our_gradients, gradients_of(exact, module), rtol=48 * 2.0**-9)
        return
    # The critic ran in bfloat16 on the same numbers: the same input gradients, bit for bit.
    assert_close(ours, theirs, rtol=1e-5)
    # bfloat16 has 8 bits; a last-bit difference of what goes in moves a product by one of them
    assert_same_gradients(our_gradients, their_gradients, rtol=4 * 2.0**-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype, backend):
    """The critic in the dtype of the samples; norms and penalty in float32 from exact sums."""
    real, fake = torch.randn(2, 6, 40).to(dtype)
    weight = torch.randn(40).to(dtype).requires_grad_()
    penalty, norms = fast_gradient_penalty(
        lambda x: (x * weight).sum(1), real, fake, backend=backend, return_norms=True
    )
    assert (penalty.dtype, norms.dtype) == (torch.float32, torch.float32)
    exact = weight.detach().double().requires_grad_()
    expected = 10 * (torch.linalg.vector_norm(exact) - 1) ** 2
    assert_close(penalty.double(), expected, rtol=1e-6)
    penalty.backward()
    expected.backward()
    assert weight.grad.dtype == dtype
    assert_close(weight.grad.double(), exact.grad, rtol=16 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through(value, backend):
    """In the sample's own norm, and in the mean; the other samples are as they were."""
    real, fake = torch.randn(2, 5, 7)
    real[2, 3] = value
    given = {"epsilon": torch.full((5,), 0.5), "backend": backend, "return_norms": True}
    penalty, norms = fast_gradient_penalty(lambda x: (x**2).sum(1), real, fake, **given)
    assert not penalty.isfinite()
    assert norms.isfinite().tolist() == [True, True, False, True, True]
    each, _ = fast_gradient_penalty(lambda x: (x**2).sum(1), real, fake, reduction="none", **given)
    assert each.isfinite().tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("target", [0.0, 1.0])
@every_double_backward
def test_a_gradient_of_zero_costs_but_does_not_push(dtype, target, double_backward, backend):
    """The norm has no derivative at zero; the penalty's is 0 there, as PyTorch's norm has it."""
    real, fake = torch.randn(2, 4, 3, dtype=dtype)
    weight = torch.zeros(3, dtype=dtype, requires_grad=True)
    penalty = fast_gradient_penalty(
        lambda x: x @ weight,
        real,
        fake,
        target=target,
        backend=backend,
        double_backward=double_backward,
    )
    penalty.backward()
    assert penalty.item() == 10 * target**2
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@given(data=st.data())
def test_any_shape_layout_and_dtype(backend, data):
    """Samples of any number of dimensions, lying in memory in any way."""
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    real, fake = (data.draw(layouts(shape)).to(dtype) for _ in range(2))
    epsilon = torch.rand(shape[0], dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    weight = torch.linspace(0.5, 2, real[0].numel(), dtype=torch.float64).reshape(shape[1:])

    def critic(x):
        return (weight * x.double() ** 3 + x).reshape(len(x), -1).sum(1)

    _, exact = textbook_gradient_penalty(
        critic, real.double(), fake.double(), epsilon=epsilon.double(), return_norms=True
    )
    # interpolates are rounded once, their gradients once, each to half an eps; the cube has
    # condition 2 or less there
    rtol = EXACT if dtype == torch.float64 else 4 * torch.finfo(dtype).eps
    _, norms = fast_gradient_penalty(
        critic, real, fake, epsilon=epsilon, backend=backend, return_norms=True
    )
    assert_close(norms.double(), exact, rtol=rtol)


@st.composite
def layouts(draw, shape):
    """A float64 tensor of ``shape`` that lies permuted, padded, shifted or expanded in memory."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.integers(1, 2)) for _ in shape]
    shift = draw(st.integers(0, 1))
    size = [shape[i] * steps[i] + shift for i in order]
    tensor = torch.randn(size, dtype=torch.float64)
    back = [order.index(i) for i in range(len(shape))]
    tensor = tensor.permute(back)
    for dim, (length, step) in enumerate(zip(shape, steps, strict=True)):
        tensor = tensor.narrow(dim, shift, length * step)
        tensor = tensor[(slice(None),) * dim + (slice(None, None, step),)]
    if draw(st.booleans()):
        tensor = tensor[:1].expand(shape)
    assert list(tensor.shape) == shape
    return tensor
