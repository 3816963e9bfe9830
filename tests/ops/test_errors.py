"""What does not fit is refused with a message, on every backend; never a silent result."""

from __future__ import annotations

import pytest
import torch

from wgan_fast.ops import REGISTRY, interpolate, norm_penalty, random_interpolate
from wgan_fast.ops import _native as native

NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}"),
)
each_backend = pytest.mark.parametrize("backend", ["reference", NATIVE])
x = torch.ones(4, 2, 3)
epsilon = torch.ones(4)
seed = torch.tensor(1)

#: What is wrong -> fake beside the real samples ``x``, and words that the message must have.
WRONG_FAKES = {
    "another batch": (torch.ones(3, 2, 3), "shape"),
    "one sample": (torch.ones(1, 2, 3), "shape"),
    "one sample in another layout": (torch.ones(1, 3, 2).transpose(1, 2), "shape"),
    "another dimension": (torch.ones(4, 2, 5), "shape"),
    "a dimension of one": (torch.ones(4, 2, 1), "shape"),
    "fewer dimensions": (torch.ones(4, 6), "shape"),
    "a vector": (torch.ones(4), "shape"),
    "more dimensions": (torch.ones(4, 2, 3, 1), "shape"),
    "nothing": (torch.ones(0, 2, 3), "shape"),
    "a scalar": (torch.tensor(1.0), "dimension|shape"),
    "another dtype": (torch.ones(4, 2, 3, dtype=torch.float64), "dtype"),
    "another dtype in another layout": (torch.ones(4, 3, 2).half().transpose(1, 2), "dtype"),
    "integers": (torch.ones(4, 2, 3, dtype=torch.long), "dtype|bfloat16, but it is"),
    "another device": (torch.ones(4, 2, 3, device="meta"), "device"),
    "another device in another layout": (
        torch.ones(4, 3, 2, device="meta").transpose(1, 2),
        "device",
    ),
}
WRONG_EPSILONS = {
    "too short": (torch.ones(3), "epsilon"),
    "a single one": (torch.ones(1), "epsilon"),
    "a scalar": (torch.tensor(0.5), "epsilon"),
    "too long": (torch.ones(5), "epsilon"),
    "one for each element": (torch.ones(4, 2, 3), "epsilon"),
    "with gaps": (torch.ones(8)[::2], "epsilon"),
    "expanded": (torch.ones(1).expand(4), "epsilon"),
    "float64": (torch.ones(4, dtype=torch.float64), "epsilon"),
    "float16": (torch.ones(4, dtype=torch.float16), "epsilon"),
    "integers": (torch.ones(4, dtype=torch.long), "epsilon"),
    "another device": (torch.ones(4, device="meta"), "epsilon"),
}
WRONG_SEEDS = {
    "two": (torch.tensor([1, 2]), "seed"),
    "none": (torch.tensor([], dtype=torch.long), "seed"),
    "float": (torch.tensor(1.0), "seed"),
    "int32": (torch.tensor(1, dtype=torch.int32), "seed"),
}
WRONG_SAMPLES = {
    "integers": (torch.ones(4, 3, dtype=torch.long), "float64, float32, float16 or bfloat16"),
    "booleans": (torch.ones(4, 3, dtype=torch.bool), "float64, float32, float16 or bfloat16"),
    "complex": (torch.ones(4, 3, dtype=torch.complex64), "float64, float32, float16 or bfloat16"),
    "a scalar": (torch.tensor(1.0), "dimension"),
}


def cases(wrong):
    return pytest.mark.parametrize(("value", "words"), wrong.values(), ids=wrong)


@each_backend
@cases(WRONG_FAKES)
def test_fake_does_not_fit(backend, value, words):
    with pytest.raises(RuntimeError, match=words):
        interpolate(x, value, epsilon, backend=backend)
    with pytest.raises(RuntimeError, match=words):
        random_interpolate(x, value, seed, backend=backend)


@each_backend
@cases(WRONG_EPSILONS)
def test_epsilon_does_not_fit(backend, value, words):
    with pytest.raises(RuntimeError, match=words):
        interpolate(x, x, value, backend=backend)


@each_backend
@cases(WRONG_SEEDS)
def test_seed_does_not_fit(backend, value, words):
    with pytest.raises(RuntimeError, match=words):
        random_interpolate(x, x, value, backend=backend)


@each_backend
@cases(WRONG_SAMPLES)
def test_samples_of_the_wrong_kind(backend, value, words):
    factors = torch.ones(value.numel() and 4)
    with pytest.raises(RuntimeError, match=words):
        interpolate(value, value, factors, backend=backend)
    with pytest.raises(RuntimeError, match=words):
        random_interpolate(value, value, seed, backend=backend)
    with pytest.raises(RuntimeError, match=words):
        norm_penalty(value, backend=backend)


@each_backend
@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0), (2, 0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_norm_of_nothing(backend, shape, dtype):
    for reduce in (True, False):
        with pytest.raises(RuntimeError, match="empty"):
            norm_penalty(torch.ones(shape, dtype=dtype), reduce=reduce, backend=backend)


#: A call that is refused -> what the message must say, of what was asked for, what it was, and what
#: to do.
MESSAGES = {
    "shape": (
        lambda b: interpolate(x, torch.ones(4, 6), epsilon, backend=b),
        r"real and fake must have the same shape, but they have \[4, 2, 3\] and \[4, 6\]$",
    ),
    "dtype": (
        lambda b: interpolate(x, x.half(), epsilon, backend=b),
        "the same dtype, but they have torch.float32 and torch.float16; convert one of them$",
    ),
    "device": (
        lambda b: interpolate(x, x.to("meta"), epsilon, backend=b),
        "must be on the same device, but they are on cpu and meta; move one of them$",
    ),
    "size of a vector": (
        lambda b: interpolate(x, x, torch.ones(4, 1, 2), backend=b),
        r"epsilon must have 4 elements, but its shape is \[4, 1, 2\]$",
    ),
    "gaps in a vector": (
        lambda b: interpolate(x, x, torch.ones(8)[::2], backend=b),
        r"epsilon must be contiguous, but its strides are \[2\]; call epsilon.contiguous\(\)$",
    ),
    "dtype of a vector": (
        lambda b: interpolate(x, x, epsilon.double(), backend=b),
        r"epsilon must be torch.float32, but it is torch.float64; convert it with "
        r"epsilon.to\(torch.float32\)$",
    ),
    "device of a vector": (
        lambda b: interpolate(x, x, epsilon.to("meta"), backend=b),
        r"epsilon must be on the device of the samples, cpu, but it is on meta; move it with "
        r"epsilon.to\('cpu'\)$",
    ),
    "seed": (
        lambda b: random_interpolate(x, x, torch.tensor([1, 2]), backend=b),
        r"seed must be one int64 number, such as torch.randint\(2\*\*63 - 1, \(\)\), but it is "
        r"a torch.int64 tensor of shape \[2\] on cpu$",
    ),
    "dtype of a seed": (
        lambda b: random_interpolate(x, x, torch.tensor(1, dtype=torch.int32), backend=b),
        r"but it is a torch.int32 tensor of shape \[\] on cpu$",
    ),
    "device of a seed": (
        lambda b: random_interpolate(x, x, seed.to("meta"), backend=b),
        r"seed must be on the CPU or on the device of the samples, cpu, but it is on meta; move it "
        r"with seed.cpu\(\)$",
    ),
}


@each_backend
@pytest.mark.parametrize(("call", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_messages_say(backend, call, message):
    """The same words on every backend."""
    with pytest.raises(RuntimeError, match=message):
        call(backend)


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@pytest.mark.parametrize("name", REGISTRY)
def test_what_is_only_read_is_not_copied(name):
    """Tensors that share their memory until one is written to go on sharing it."""
    for args in REGISTRY[name].samples(torch.float32, torch.device("cpu")):
        lent = [torch._lazy_clone(a) if isinstance(a, torch.Tensor) else a for a in args]
        before = [(a.clone(), a.dtype) for a in args if isinstance(a, torch.Tensor)]
        REGISTRY[name].overload(*lent)
        tensors = [a for a in lent if isinstance(a, torch.Tensor)]
        assert all(torch._C._is_cow_tensor(tensor) for tensor in tensors)
        for tensor, (value, dtype) in zip(tensors, before, strict=True):
            assert tensor.dtype == dtype
            assert torch.equal(tensor, value)


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
@pytest.mark.parametrize("name", REGISTRY)
def test_kernels_refuse_samples_in_pieces(name):
    """The public functions copy them; who calls the operator itself is told to."""
    for args in REGISTRY[name].samples(torch.float32, torch.device("cpu")):
        samples = args[0]
        if samples[0].numel() < 2:
            continue
        scattered = torch.stack([samples, samples], -1)[..., 0]
        with pytest.raises(RuntimeError, match=r"one dense piece.*contiguous\(\)"):
            REGISTRY[name].overload(scattered, *args[1:])


@pytest.mark.skipif(native.failure is not None, reason=f"no kernels: {native.failure}")
def test_kernels_refuse_a_fake_in_another_layout():
    """Here as well the public functions copy."""
    other = torch.ones(4, 3, 2).transpose(1, 2)
    for overload, last in [
        (REGISTRY["interpolate"].overload, (epsilon,)),
        (REGISTRY["random_interpolate"].overload, (seed, 0)),
    ]:
        with pytest.raises(RuntimeError, match="inner strides"):
            overload(x, other, *last)


def test_operators_called_with_too_little_or_too_much():
    for name, op in REGISTRY.items():
        with pytest.raises(RuntimeError, match=f"wgan_fast::{name}"):
            op.overload()
        args = next(iter(op.samples(torch.float32, torch.device("cpu"))))
        with pytest.raises(RuntimeError, match=f"wgan_fast::{name}"):
            op.overload(*args, 1.0)


def test_the_backward_of_the_norm_checks_its_vectors():
    args = (torch.ones(4, 3), torch.ones(4), torch.ones(()), torch.ones(4))
    settings = (1.0, False, 2.0, 1.0, True)
    overload = REGISTRY["norm_penalty_backward"].overload
    wrong = torch.ones(5)
    for position, words in [(1, "norms"), (2, "grad_penalty"), (3, "grad_norms")]:
        for value in (wrong, wrong.double()[:4]):
            with pytest.raises(RuntimeError, match=words):
                overload(*args[:position], value, *args[position + 1 :], *settings)
    with pytest.raises(RuntimeError, match="grad_penalty"):
        overload(*args, *settings[:-1], False)
