"""backend="pytorch", which serves where there are no kernels."""

from __future__ import annotations

import pytest
import torch

from tests.ops.backends import Arithmetic
from tests.ops.compare import as_tuple, check_close, check_packed
from tests.ops.layouts import DTYPES, LAYOUTS, SHAPES
from tests.ops.operators import KNOWN
from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import REGISTRY, _native
from wgan_fast.ops._layout import as_rows, compute_dtype, rows_like

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])

#: Sums as long as PyTorch's vector_norm makes them, in the dtype of the norms.
ARITHMETIC = Arithmetic(wide=None, additions=None)


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_draws_nothing_is_the_textbook(dtype, shape):
    for layout in LAYOUTS:
        real = as_rows(layout(shape, dtype))
        fake = rows_like(real, layout(shape, dtype))
        epsilon = torch.rand(shape[0], dtype=compute_dtype(dtype))
        settings = [(1.0, False, 2.0, 10.0, True), (0.1, True, 1.5, 3.0, False)]
        cases = [("interpolate", (real, fake, epsilon))]
        cases += [("norm_penalty", (real, *setting)) for setting in settings]
        for name, args in cases:
            expected = KNOWN[name].expected(ARITHMETIC, *args)
            results = as_tuple(REGISTRY[name].pytorch(*args))
            for result, value in zip(results, expected, strict=True):
                if name == "interpolate":
                    check_packed(result, real, name)
                check_close(result, value, f"{name} {shape} {dtype} {layout.__name__}")


@each_dtype
def test_what_lies_far_apart_is_mixed(dtype):
    """No difference is taken that could overflow."""
    largest = torch.finfo(dtype).max
    real, fake = torch.full((3, 2), largest, dtype=dtype), torch.full((3, 2), -largest, dtype=dtype)
    epsilon = torch.tensor([0.0, 0.5, 1.0], dtype=compute_dtype(dtype))
    mixed = REGISTRY["interpolate"].pytorch(real, fake, epsilon)
    expected = torch.tensor([-largest, 0.0, largest], dtype=dtype)
    assert torch.equal(mixed, expected[:, None].expand(3, 2))


@pytest.mark.parametrize("name", ["interpolate", "norm_penalty"])
def test_no_function_of_this_package_is_recorded(name):
    """It is differentiated by PyTorch, without an autograd.Function in Python."""
    args = next(iter(REGISTRY[name].samples(torch.float32, torch.device("cpu"))))
    args = (args[0].detach().requires_grad_(), *args[1:])
    result = as_tuple(REGISTRY[name](*args, backend="pytorch"))[0]
    waiting, names = [result.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(type(node).__module__)
            waiting += [following for following, _ in node.next_functions]
    assert names
    assert not any(module.startswith("wgan_fast") for module in names)


def test_auto_takes_it_where_there_are_no_kernels(monkeypatch):
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    real, fake = torch.randn(2, 4, 3)

    def penalty(backend):
        torch.manual_seed(3)
        return fast_gradient_penalty(critic, real, fake, backend=backend)

    with monkeypatch.context() as patch:
        patch.setattr(_native, "serves", lambda op, device_type: False)
        without_kernels = penalty("auto")
    assert torch.equal(without_kernels, penalty("pytorch"))
    assert not torch.equal(without_kernels, penalty("reference"))  # another draw: torch.rand
