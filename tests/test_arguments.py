"""Bad input: every error names the argument, what it must be and what it was."""

import types
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.critics import mlp
from wgan_fast import (
    FiniteDifference,
    Penalty,
    approximate_r1,
    consistency_term,
    critic_loss,
    fast_gradient_penalty,
)
from wgan_fast.ops import _native as native
from wgan_fast.second_order import without_thresholds
from wgan_fast.second_order._graph import nodes_of

REAL = torch.randn(4, 3)
FAKE = torch.randn(4, 3)


def penalty(real=REAL, fake=FAKE, **arguments):
    return fast_gradient_penalty(lambda x, *a, **k: (x**2).sum(1), real, fake, **arguments)


@pytest.mark.parametrize("name", ["real", "fake"])
@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (None, TypeError, r"must be a tensor \[B, \*\], or a tuple, list or .*, but it is None"),
        (torch.ones(4, 3).numpy(), TypeError, r"must be a tensor \[B, \*\], or .* it is .*array"),
        (torch.ones(4, 3).int(), TypeError, r"must be float64, .* is torch\.int32; convert"),
        (torch.ones(4, 3).byte(), TypeError, r"must be float64, .* is torch\.uint8; convert"),
        (torch.ones(4, 3).bool(), TypeError, r"must be float64, .* is torch\.bool; convert"),
        (torch.ones(4, 3) + 0j, TypeError, r"must be float64, .* is torch\.complex64; convert"),
        (torch.ones(4, 3).to(torch.float8_e5m2), TypeError, r"must be float64, .*float8_e5m2;"),
        (
            torch.ones(4, 3).to_sparse(),
            TypeError,
            r"must be a dense tensor .*sparse_coo; .*to_dense",
        ),
        (torch.ones(4, 3).to_mkldnn(), TypeError, r"must be a dense tensor .*mkldnn; .*to_dense"),
        (
            torch.tensor(1.0),
            ValueError,
            r"must be \[B, \*\] with a batch dimension, but it is 0-dim",
        ),
        (torch.ones(0, 3), ValueError, r"must not be empty, but its shape is \[0, 3\]"),
        (torch.ones(4, 0), ValueError, r"must not be empty, but its shape is \[4, 0\]"),
        (torch.ones(0), ValueError, r"must not be empty, but its shape is \[0\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples(name, samples, error, message):
    with pytest.raises(error, match=f"^{name} {message}"):
        penalty(**{name: samples})


def test_fake_on_another_device(monkeypatch):
    """A machine without a GPU has no tensors on one: a stand-in says that it is one."""

    class Elsewhere(torch.Tensor):
        device = torch.device("cuda", 1)

    message = "^fake must be on the device of real, cpu, but it is on cuda:1; move it with fake.to"
    with pytest.raises(ValueError, match=message):
        penalty(fake=FAKE.as_subclass(Elsewhere))
    with pytest.raises(ValueError, match=r"^epsilon must be on the device of real, cpu, .*cuda:1"):
        penalty(epsilon=torch.ones(4).as_subclass(Elsewhere))


@pytest.mark.parametrize(
    ("fake", "error", "message"),
    [
        (torch.ones(4, 2), ValueError, r"shape of real, \[4, 3\], but it is \[4, 2\]"),
        (torch.ones(5, 3), ValueError, r"shape of real, \[4, 3\], but it is \[5, 3\]"),
        (torch.ones(4, 3, 1), ValueError, r"shape of real, \[4, 3\], but it is \[4, 3, 1\]"),
        (torch.ones(1, 3), ValueError, r"shape of real, \[4, 3\], but it is \[1, 3\]"),
        (torch.ones(4, 3).double(), TypeError, r"dtype of real, torch\.float32, .*torch\.float64"),
        (torch.ones(4, 3).half(), TypeError, r"dtype of real, torch\.float32, .*torch\.float16"),
    ],
)
def test_real_and_fake_must_fit(fake, error, message):
    with pytest.raises(error, match=f"^fake must .*{message}"):
        penalty(fake=fake)


@pytest.mark.parametrize("name", ["lambda_gp", "target"])
@pytest.mark.parametrize("value", ["10", None, True, 1j, torch.tensor(1.0), [1.0]], ids=str)
def test_numbers_must_be_numbers(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a number, but it is "):
        penalty(**{name: value})


@pytest.mark.parametrize("name", ["lambda_gp", "target"])
@pytest.mark.parametrize("value", [-1, -1e-9, torch.nan, torch.inf, -torch.inf])
def test_numbers_must_be_finite_and_not_negative(name, value):
    with pytest.raises(
        ValueError, match=f"^{name} must be a finite number >= 0, but it is {value}"
    ):
        penalty(**{name: value})


def test_numbers_may_be_of_any_kind():
    expected = penalty(lambda_gp=2.5, target=2.0, epsilon=torch.ones(4))
    numpy = pytest.importorskip("numpy")
    for value in (Fraction(5, 2), numpy.float32(2.5), numpy.float64(2.5)):
        assert penalty(lambda_gp=value, target=2, epsilon=torch.ones(4)) == expected


@pytest.mark.parametrize("number", [Fraction, "float32", "float64"], ids=str)
@pytest.mark.parametrize("first_sample", [None, 0])
def test_numbers_of_any_kind_in_every_place(number, first_sample):
    """They go on as what they were converted to."""
    if isinstance(number, str):
        number = getattr(pytest.importorskip("numpy"), number)
    net = mlp(nn.Tanh, size=3)

    def results(of):
        torch.manual_seed(0)
        subset = {"subset": of(0.5), "first_sample": first_sample}
        step = {"double_backward": FiniteDifference(of(0.0625))}
        lazily = Penalty(of(2.0), target=of(0.5), power=of(1.5))
        return [
            fast_gradient_penalty(net, REAL, FAKE, target=of(0.5), **subset),
            fast_gradient_penalty(net, REAL, FAKE, lambda_gp=of(2.0), **step),
            critic_loss(net, REAL, FAKE, gp=lazily),
            consistency_term(net, REAL, lambda_ct=of(2.0), margin=of(0.0), feature_weight=of(0.5)),
            approximate_r1(net, REAL, lambda_r1=of(2.0), sigma=of(0.5)),
        ]

    for ours, theirs in zip(results(number), results(float), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["lambda_gp", "target"])
def test_a_tensor_is_no_number(name):
    """A weight that is computed in each step: the message tells what to do with it."""
    with pytest.raises(TypeError, match=rf"; pass float\({name}\), or where .* multiply the"):
        penalty(**{name: torch.tensor(1.0)})


@pytest.mark.parametrize("name", ["one_sided", "return_norms"])
@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_switches(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be True or False, but it is "):
        penalty(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "reduction",
            "average",
            "must be one of 'mean', 'sum', 'none', 'max', but it is 'average'",
        ),
        ("reduction", None, "must be one of 'mean', 'sum', 'none', 'max', but it is None"),
        (
            "reduction",
            ["mean"],
            r"must be one of 'mean', 'sum', 'none', 'max', but it is \['mean'\]",
        ),
        (
            "backend",
            "cuda",
            "must be one of 'auto', 'native', 'pytorch', 'reference', but it is 'cuda'",
        ),
        ("double_backward", "fast", "must be 'pruned', 'plain', .* but it is 'fast'"),
        (
            "backend",
            None,
            "must be one of 'auto', 'native', 'pytorch', 'reference', but it is None",
        ),
    ],
)
def test_choices(name, value, message):
    with pytest.raises(ValueError, match=f"^{name} {message}"):
        penalty(**{name: value})


def test_the_older_name_of_pruned():
    """The numbers are the same bit for bit; the critic is pruned, and not only in name."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    results = []
    for name in ("exact", "pruned", "plain"):
        given = {"epsilon": torch.full((4,), 0.5), "double_backward": name}
        with without_thresholds():
            found = fast_gradient_penalty(net, REAL, FAKE, **given)
        grads = torch.autograd.grad(found, net[0].weight, retain_graph=True)
        cut = [node for node in nodes_of(found) if "wgan_fast.zero_paths_cut" in node.metadata]
        results.append((found.item(), grads[0].tolist(), len(cut)))
    assert results[0] == results[1]
    assert results[0][2] > 0 == results[2][2]


def test_choices_of_another_type():
    numpy = pytest.importorskip("numpy")
    for name in ("reduction", "backend", "double_backward"):
        with pytest.raises(ValueError, match=f"^{name} must be "):
            penalty(**{name: numpy.array(["mean", "auto"])})


def test_module_must_be_one():
    with pytest.raises(TypeError, match=r"^module must be the torch.nn.Module .* it is 'critic'"):
        penalty(module="critic")


@pytest.mark.parametrize("value", [2.0, "2", True, torch.tensor(2)], ids=repr)
def test_chunk_size_must_be_an_integer(value):
    with pytest.raises(TypeError, match=r"^chunk_size must be an integer or None, but it is "):
        penalty(chunk_size=value)


@pytest.mark.parametrize("value", [0, -1])
def test_chunk_size_must_be_positive(value):
    with pytest.raises(ValueError, match=f"^chunk_size must be at least 1, but it is {value}"):
        penalty(chunk_size=value)


@pytest.mark.parametrize(
    ("epsilon", "error", "message"),
    [
        (0.5, TypeError, r"must be a tensor \[B\], but it is 0\.5"),
        ([0.5] * 4, TypeError, r"must be a tensor \[B\], but it is \[0\.5"),
        (torch.ones(4).int(), TypeError, r"must have a floating dtype, but it is torch\.int32"),
        (torch.ones(4) + 0j, TypeError, r"must have a floating dtype, .*torch\.complex64"),
        (torch.ones(4).to_sparse(), TypeError, r"must be a dense tensor"),
        (torch.tensor(0.5), ValueError, r"shape \[4\], but its shape is \[\]"),
        (torch.ones(3), ValueError, r"shape \[4\], but its shape is \[3\]"),
        (torch.ones(1), ValueError, r"shape \[4\], but its shape is \[1\]"),
        (torch.ones(4, 1), ValueError, r"shape \[4\], but its shape is \[4, 1\]"),
        (torch.tensor([0, 1, 1.5, 0]), ValueError, r"in \[0, 1\], .* from 0\.0 to 1\.5"),
        (torch.tensor([0, -0.5, 1, 0]), ValueError, r"in \[0, 1\], .* from -0\.5 to 1\.0"),
        (torch.tensor([0, torch.nan, 1, 0]), ValueError, r"in \[0, 1\], .* from nan to nan"),
        (torch.tensor([0, torch.inf, 1, 0]), ValueError, r"in \[0, 1\], .* from 0\.0 to inf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_epsilon(epsilon, error, message):
    with pytest.raises(error, match=f"^epsilon .*{message}"):
        penalty(epsilon=epsilon)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_epsilon_may_have_any_floating_dtype_and_layout(dtype):
    epsilon = torch.tensor([0, 0.25, 0.5, 1], dtype=dtype)
    expected = penalty(epsilon=torch.tensor([0, 0.25, 0.5, 1]))
    assert penalty(epsilon=epsilon) == expected
    assert penalty(epsilon=epsilon.repeat_interleave(2)[::2]) == expected
    assert penalty(epsilon=epsilon.requires_grad_()) == expected


@pytest.mark.parametrize("generator", [3, "cpu", torch.default_generator.get_state()])
def test_generator_must_be_a_generator(generator):
    with pytest.raises(TypeError, match=r"^generator must be a torch\.Generator, but it is "):
        penalty(generator=generator)


def test_generator_on_another_device(monkeypatch):
    """A machine without a GPU makes no generator for one: a stand-in says that it is there."""
    elsewhere = types.SimpleNamespace(device=torch.device("cuda", 1))
    monkeypatch.setattr(torch, "Generator", types.SimpleNamespace)
    message = "^generator must be on the CPU or on the device of the samples, cpu, .* on cuda:1"
    with pytest.raises(ValueError, match=message):
        penalty(generator=elsewhere)


def test_generator_and_epsilon_exclude_each_other():
    with pytest.raises(ValueError, match=r"^generator must be None when epsilon is given"):
        penalty(generator=torch.Generator(), epsilon=torch.ones(4))


@pytest.mark.parametrize("value", [torch.ones(4), "labels", 3, {1}], ids=repr)
def test_critic_args_must_be_a_tuple(value):
    """Or a tensor of labels would be taken apart into one argument for each row."""
    with pytest.raises(TypeError, match=r"^critic_args must be a tuple .*, but it is "):
        penalty(critic_args=value)


@pytest.mark.parametrize("value", [torch.ones(4), "labels", 3, ("labels", 3)], ids=repr)
def test_critic_kwargs_must_be_a_dictionary(value):
    with pytest.raises(TypeError, match=r"^critic_kwargs must be a dict .*, but it is "):
        penalty(critic_kwargs=value)


@pytest.mark.parametrize("key", [1, None, ("labels",), torch.ones(2)], ids=str)
def test_critic_kwargs_must_have_names(key):
    message = r"^critic_kwargs must have names, strings, as its keys, but one is "
    with pytest.raises(TypeError, match=message):
        penalty(critic_kwargs={"a": 2, key: 3})


def test_critic_args_may_be_a_list():
    assert penalty(critic_args=[1], critic_kwargs=types.MappingProxyType({"k": 2})).isfinite()


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_inference_mode(chunk_size):
    message = r"inference_mode\(\) rules out; use torch\.no_grad\(\)"
    with torch.inference_mode(), pytest.raises(RuntimeError, match=message):
        penalty(chunk_size=chunk_size)


def test_native_backend_without_kernels(monkeypatch):
    """It raises, says why, and what to do; "auto" goes on with the reference."""
    monkeypatch.setattr(native, "serves", lambda op, device_type: False)
    monkeypatch.setattr(native, "failure", "there is no compiler in this test")
    message = 'backend="native" was asked for.* no compiler in this test.*pip install'
    with pytest.raises(RuntimeError, match=message):
        penalty(backend="native")
    assert penalty().isfinite()


def test_errors_leave_the_random_numbers_alone():
    before = torch.get_rng_state()
    for bad in ({"reduction": "no"}, {"chunk_size": 0}, {"lambda_gp": -1}, {"critic_args": 3}):
        with pytest.raises((TypeError, ValueError)):
            penalty(**bad)
    assert torch.equal(torch.get_rng_state(), before)


_anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(-9, 9),
    st.sampled_from([torch.nan, torch.inf, 1j]),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers()),
    st.sampled_from([torch.ones(4, 3), torch.ones(4), torch.ones(()), torch.ones(4, 3).char()]),
)
_names = ["real", "fake", "lambda_gp", "target", "one_sided", "epsilon", "generator", "reduction"]
_names += ["chunk_size", "backend", "return_norms", "critic_args", "critic_kwargs"]
_names += ["double_backward"]


@given(arguments=st.dictionaries(st.sampled_from(_names), _anything, min_size=1, max_size=3))
def test_anything_else_is_an_error_or_a_number(arguments):
    """Never a crash, nor an error that names none of the arguments that were given."""
    try:
        result = penalty(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        assert any(name in str(error) for name in arguments)  # noqa: PT017
    else:
        value = result[0] if isinstance(result, tuple) else result
        assert value.isfinite().all()
