"""The operators are good citizens of PyTorch: opcheck, torch.compile and torch.export."""

from __future__ import annotations

import pytest
import torch

from tests.ops.compare import as_tuple, same_bits
from tests.ops.layouts import DTYPES, LAYOUTS
from wgan_fast.ops import REGISTRY, interpolate, norm_penalty, random_interpolate

each_operator = pytest.mark.parametrize("name", REGISTRY)


def with_gradients(args):
    """The same arguments, every floating tensor to be differentiated by."""
    return tuple(
        a.detach().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in args
    )


# torch 2.14's own check for dynamic shapes looks at .grad of copies that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@each_operator
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_opcheck(name, dtype):
    """Every sample: schema and fake kernel; those in float32: autograd under tracing as well."""
    quick = ("test_schema", "test_faketensor")
    traced = (*quick, "test_autograd_registration", "test_aot_dispatch_dynamic")
    overload = REGISTRY[name].overload
    for args in REGISTRY[name].samples(dtype, torch.device("cpu")):
        torch.library.opcheck(overload, args, test_utils=quick)
        if dtype == torch.float32:
            torch.library.opcheck(overload, with_gradients(args), test_utils=traced)


def run_all(real, fake, epsilon, seed):
    """Something of every public function, with a derivative of a derivative in it."""
    mixed = interpolate(real, fake, epsilon) + random_interpolate(real, fake, seed, 3)
    penalty, norms = norm_penalty(mixed, target=0.5, scale=2.0)
    return penalty + norms.sum(), mixed


def inputs(dtype=torch.float64):
    real, fake = torch.randn(2, 4, 3, 5, dtype=dtype)
    return real.requires_grad_(), fake, torch.rand(4, dtype=dtype), torch.tensor(9)


def test_compiled_as_one_graph():
    args = inputs()
    compiled = torch.compile(run_all, fullgraph=True, backend="aot_eager")
    expected, actual = run_all(*args), compiled(*args)
    assert same_bits(actual, expected)
    assert same_bits(
        torch.autograd.grad(actual[0], args[0]), torch.autograd.grad(expected[0], args[0])
    )


def test_compiled_for_any_batch():
    compiled = torch.compile(run_all, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (4, 7, 2):
        real, fake = torch.randn(2, batch, 3)
        args = (real, fake, torch.rand(batch), torch.tensor(1))
        assert same_bits(compiled(*args), run_all(*args))


class Everything(torch.nn.Module):
    def forward(self, real, fake, epsilon, seed):
        return run_all(real, fake, epsilon, seed)


@pytest.mark.parametrize("strict", [False, True])
def test_exported(strict):
    args = tuple(x.detach() for x in inputs())
    program = torch.export.export(Everything(), args, strict=strict)
    called = {str(node.target) for node in program.graph.nodes if "wgan_fast" in str(node.target)}
    assert called == {
        "wgan_fast.interpolate.default",
        "wgan_fast.random_interpolate.default",
        "wgan_fast.norm_penalty.default",
    }
    assert same_bits(program.module()(*args), run_all(*args))


@pytest.mark.parametrize("layout", LAYOUTS)
@each_operator
def test_the_fake_kernel_tells_the_truth(name, layout):
    """Shapes, dtypes and strides without computing, in every layout."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tests.ops.arguments import arguments

    for shape in [(3,), (3, 4), (3, 2, 1, 5)]:
        args = arguments(name, shape, torch.bfloat16, layout, 1)
        real = as_tuple(REGISTRY[name].overload(*args))
        with FakeTensorMode() as mode:
            unreal = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
            told = as_tuple(REGISTRY[name].overload(*unreal))
        for a, b in zip(told, real, strict=True):
            assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)
