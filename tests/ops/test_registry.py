"""The table of operators: what it holds, and which backend each of them is sent to."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.ops.backends import BACKENDS
from tests.ops.compare import as_tuple, same_bits
from wgan_fast import ops
from wgan_fast.ops import REGISTRY, interpolate, norm_penalty, random_interpolate
from wgan_fast.ops import _native as native

FORWARD = [name for name in REGISTRY if not name.endswith("_backward")]
cpu = torch.device("cpu")


def first_sample(name):
    return next(iter(REGISTRY[name].samples(torch.float32, cpu)))


def test_every_operator_is_known_to_pytorch_by_its_name():
    assert {"interpolate", "norm_penalty", "random_interpolate"} <= set(FORWARD) <= set(ops.__all__)
    for name, op in REGISTRY.items():
        assert op.name == name
        assert op.overload is getattr(torch.ops.wgan_fast, name).default
        assert str(op.overload._schema) == f"wgan_fast::{op.schema}"
        assert torch.Tag.pt2_compliant_tag in op.overload.tags


def test_every_operator_has_its_backward():
    for name in FORWARD:
        assert f"{name}_backward" in REGISTRY


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_a_kernel_serves_every_operator():
    for name in REGISTRY:
        assert native.serves(name, "cpu")


def test_a_device_without_kernels_is_served_by_plain_pytorch():
    """What the dispatcher falls back to is what "auto" takes without kernels."""
    key = "CompositeExplicitAutograd"
    for name, op in REGISTRY.items():
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"wgan_fast::{name}", key)
        args = first_sample(name)
        with torch._C._AutoDispatchBelowAutograd():
            fallen_back = op.overload.redispatch(
                torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd), *args
            )
        assert same_bits(fallen_back, op.pytorch(*args))


@pytest.mark.parametrize("name", FORWARD)
def test_the_reference_does_not_touch_the_kernels(name):
    """``backend="reference"``, forward, backward and twice: plain PyTorch, as a user will see."""

    class NoKernels(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert "wgan_fast" not in str(func)
            return func(*args, **(kwargs or {}))

    args = [a.requires_grad_() if getattr(a, "ndim", 0) > 1 else a for a in first_sample(name)]
    args[0] = args[0].detach().requires_grad_()
    with NoKernels():
        result = as_tuple(REGISTRY[name](*args, backend="reference"))[0]
        (grad,) = torch.autograd.grad(result.square().sum(), args[0], create_graph=True)
        torch.autograd.grad(grad.square().sum(), args[0])


@pytest.mark.parametrize("name", REGISTRY)
def test_native_without_a_kernel_says_why_and_what_to_do(name):
    args = first_sample(name)
    with (
        mock.patch.object(native, "serves", return_value=False),
        mock.patch.object(native, "failure", "the dog ate them"),
        pytest.raises(RuntimeError, match=rf"{name} on cpu: the dog ate them.*WGAN_FAST_BUILD=cpu"),
    ):
        REGISTRY[name](*args, backend="native")


def test_native_on_a_device_that_has_none():
    x = torch.ones(2, 3, device="meta")
    with pytest.raises(RuntimeError, match="no compiled kernel serves norm_penalty on meta"):
        norm_penalty(x, backend="native")


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_auto_is_native_where_there_is_a_kernel():
    """On the CPU, with and without a gradient asked for, bit for bit."""
    real, fake = torch.randn(2, 3, 1000)
    epsilon, seed = torch.rand(3), torch.tensor(4)
    calls = [
        lambda backend, x: interpolate(x, fake, epsilon, backend=backend),
        lambda backend, x: random_interpolate(x, fake, seed, 9, backend=backend),
        lambda backend, x: norm_penalty(x, backend=backend),
    ]
    for call in calls:
        for x in (real, real.clone().requires_grad_()):
            assert same_bits(call("auto", x), call("native", x))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", REGISTRY)
def test_results_are_new_memory(backend, name):
    """No operator returns its input or a view of it."""
    args = first_sample(name)
    for result in as_tuple(BACKENDS[backend][name](*args)):
        for a in args:
            if isinstance(a, torch.Tensor):
                pointer = a.untyped_storage().data_ptr()
                assert result.untyped_storage().data_ptr() != pointer
