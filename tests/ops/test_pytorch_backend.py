"""backend="pytorch", which serves where there are no kernels: right numbers, draws of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.ops.backends import Arithmetic
from tests.ops.compare import as_tuple, check_close, check_packed
from tests.ops.layouts import DTYPES, LAYOUTS, SHAPES
from tests.ops.textbook import TEXTBOOK
from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import REGISTRY, _native, drawn_epsilon, random_interpolate
from wgan_fast.ops._layout import as_rows, compute_dtype, rows_like
from wgan_fast.ops.blocks import BLOCK, uniform_epsilon

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])

#: Sums as long as PyTorch's vector_norm makes them, in the dtype of the norms.
ARITHMETIC = Arithmetic(wide=None, additions=None)

SEEDS = [0, 1, -1, 2**32 - 1, 2**32, -(2**32), 2**63 - 1, -(2**63), 0x5DEECE66D]


def mersenne_twister(seed: int, count: int) -> np.ndarray:
    """The first numbers of a generator of NumPy's, 24 bits each, in [0, 1)."""
    words = np.random.RandomState(seed).randint(0, 2**32, count, dtype=np.uint64)
    return (words % 2**24) / 2**24


def textbook(seed: int, batch: int, first_sample: int) -> np.ndarray:
    """One by one: the generator of a sample's block, seeded, and drawn from up to that sample."""
    seed %= 2**64
    folded = (seed ^ (seed >> 32)) % 2**32
    factors = []
    for sample in range(first_sample, first_sample + batch):
        block, index = divmod(sample, 4096)
        generator = (folded + block * 0x9E3779B9) % 2**32
        factors.append(mersenne_twister(generator, index + 1)[-1])
    return np.array(factors)


@pytest.mark.parametrize("seed", SEEDS)
def test_factors_are_those_of_the_mersenne_twister(seed):
    ours = uniform_epsilon(torch.tensor(seed), 5, 0, torch.device("cpu"))
    assert ours.dtype == torch.float32
    assert (ours.double().numpy() == textbook(seed, 5, 0)).all()


@pytest.mark.parametrize("first_sample", [1, 17, BLOCK - 2, BLOCK, 3 * BLOCK + 1, 2**24 * BLOCK])
def test_factors_from_the_middle_on(first_sample):
    ours = uniform_epsilon(torch.tensor(9), 5, first_sample, torch.device("cpu"))
    assert (ours.double().numpy() == textbook(9, 5, first_sample)).all()


def test_factors_do_not_depend_on_the_slices():
    whole = uniform_epsilon(torch.tensor(9), 3 * BLOCK, 0, torch.device("cpu"))
    for size in (1000, BLOCK, BLOCK + 1):
        parts = [
            uniform_epsilon(torch.tensor(9), min(size, 3 * BLOCK - start), start, whole.device)
            for start in range(0, 3 * BLOCK, size)
        ]
        assert torch.equal(torch.cat(parts), whole)


def test_factors_are_uniform_and_blocks_differ():
    factors = uniform_epsilon(torch.tensor(5), 16 * BLOCK, 0, torch.device("cpu")).double()
    blocks = factors.reshape(16, BLOCK)
    assert len({tuple(block[:4].tolist()) for block in blocks}) == 16
    correlation = np.corrcoef(blocks.numpy()) - np.eye(16)
    assert abs(correlation).max() < 5 / BLOCK**0.5
    largest_gap = (factors.sort().values - (torch.arange(16 * BLOCK) + 0.5) / (16 * BLOCK)).abs()
    assert largest_gap.max() < 2 / (16 * BLOCK) ** 0.5  # Kolmogorov and Smirnov: 1e-3 beyond it


def test_a_seed_on_another_device_is_not_looked_at():
    """That would be to wait for it; there Philox draws."""
    seed = torch.tensor(3)
    philox = drawn_epsilon(torch.ones(4, 2), seed, backend="reference")
    pytorch = drawn_epsilon(torch.ones(4, 2), seed, backend="pytorch")
    assert not torch.equal(philox, pytorch)


@each_dtype
def test_samples_are_mixed_at_the_factors_that_are_told(dtype):
    seed = torch.tensor(3)
    real, fake = torch.ones(7, 2, dtype=dtype), torch.zeros(7, 2, dtype=dtype)
    factors = drawn_epsilon(real, seed, 2, backend="pytorch")
    assert factors.dtype == compute_dtype(dtype)
    mixed = random_interpolate(real, fake, seed, 2, backend="pytorch")
    assert torch.equal(mixed, factors.to(dtype)[:, None].expand(7, 2))


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
            expected = TEXTBOOK[name](ARITHMETIC, *args)
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


@pytest.mark.parametrize("name", ["interpolate", "random_interpolate", "norm_penalty"])
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
    assert not torch.equal(without_kernels, penalty("reference"))  # other draws
