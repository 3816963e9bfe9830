"""The operators' own functions refuse what the penalties refuse, before any backend is asked."""

from __future__ import annotations

import math

import pytest
import torch

from wgan_fast.ops import _native as native
from wgan_fast.ops import drawn_epsilon, interpolate, norm_penalty, random_interpolate

x = torch.ones(4, 3)
epsilon, seed = torch.ones(4), torch.tensor(1)
CALLS = {
    "interpolate": lambda **choice: interpolate(x, x, epsilon, **choice),
    "random_interpolate": lambda **choice: random_interpolate(x, x, seed, **choice),
    "norm_penalty": lambda **choice: norm_penalty(x, **choice),
    "norm_penalty, 1": lambda **choice: norm_penalty(x, norm=1, **choice),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
@pytest.mark.parametrize("backend", ["nativ", "", None, 3, ["auto"]], ids=str)
def test_an_unknown_backend(call, backend):
    with pytest.raises(
        ValueError, match=r"^backend must be one of 'auto', 'native', 'pytorch', 'reference'"
    ):
        call(backend=backend)


@pytest.mark.parametrize("norm", [1, math.inf])
def test_there_are_kernels_for_the_euclidean_norm_alone(norm, monkeypatch):
    monkeypatch.setattr(native, "serves", lambda op, device_type: True)
    with pytest.raises(ValueError, match=r"^norm must be 2 with backend='native', but it is"):
        norm_penalty(x, norm=norm, backend="native")
    for backend in ("auto", "reference"):
        assert norm_penalty(x, norm=norm, backend=backend)[1].isfinite().all()


@pytest.mark.parametrize(
    "norm", [0, 3, -1, 1.5, math.nan, -math.inf, "2", None, True, [1]], ids=str
)
def test_an_unknown_norm(norm):
    with pytest.raises(ValueError, match=r"^norm must be 1, 2 or math\.inf, but it is"):
        norm_penalty(x, norm=norm)


each_norm = pytest.mark.parametrize("norm", [1, 2, math.inf])


@each_norm
@pytest.mark.parametrize(("name", "least"), [("target", 0), ("scale", 0), ("power", 1)])
def test_settings_out_of_their_range(norm, name, least):
    for value in (least - 1e-9, -1, -math.inf, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"^{name} must be a finite number >= {least}, but"):
            norm_penalty(x, norm=norm, **{name: value})
    for value in ("1", None, True, torch.tensor(2.0), 1j):
        with pytest.raises(TypeError, match=f"^{name} must be a number, but it is"):
            norm_penalty(x, norm=norm, **{name: value})
    assert norm_penalty(x, norm=norm, **{name: least})[0].isfinite()


@each_norm
@pytest.mark.parametrize("name", ["one_sided", "reduce"])
def test_switches_must_be_switches(norm, name):
    for value in (1, 0, None, "yes"):
        with pytest.raises(TypeError, match=f"^{name} must be True or False, but it is"):
            norm_penalty(x, norm=norm, **{name: value})


@each_norm
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_norm_of_nothing(norm, backend):
    for shape in [(0,), (0, 3), (3, 0)]:
        for reduce in (True, False):
            with pytest.raises(RuntimeError, match="gradients must not be empty"):
                norm_penalty(torch.ones(shape), norm=norm, reduce=reduce, backend=backend)


@each_norm
def test_gradients_of_the_wrong_kind(norm):
    for gradients in (torch.ones(4, 3).int(), torch.ones(4, 3) + 0j):
        with pytest.raises(RuntimeError, match="must be float64, float32, float16 or bfloat16"):
            norm_penalty(gradients, norm=norm)
    with pytest.raises(RuntimeError, match="must have a batch dimension"):
        norm_penalty(torch.tensor(1.0), norm=norm)


@pytest.mark.parametrize("value", [None, 1.0, [[1.0]], torch.ones(4, 3).numpy()], ids=str)
def test_what_is_no_tensor(value):
    for name, call in {
        "real": lambda value: interpolate(value, x, epsilon),
        "fake": lambda value: interpolate(x, value, epsilon),
        "epsilon": lambda value: interpolate(x, x, value),
        "real ": lambda value: random_interpolate(value, x, seed),
        "fake ": lambda value: random_interpolate(x, value, seed),
        "seed": lambda value: random_interpolate(x, x, value),
        "real  ": lambda value: drawn_epsilon(value, seed),
        "seed ": lambda value: drawn_epsilon(x, value),
        "gradients": lambda value: norm_penalty(value),
        "gradients ": lambda value: norm_penalty(value, norm=1),
    }.items():
        with pytest.raises(TypeError, match=f"^{name.strip()} must be a tensor .*, but it is"):
            call(value)


@pytest.mark.filterwarnings("ignore:.*nested:UserWarning")
@pytest.mark.parametrize(
    "make",
    [torch.Tensor.to_sparse, torch.Tensor.to_mkldnn, lambda x: torch.nested.as_nested_tensor([*x])],
)
def test_what_is_not_dense(make):
    odd = make(x)
    for name, call in {
        "real": lambda: interpolate(odd, x, epsilon),
        "fake": lambda: random_interpolate(x, odd, seed),
        "gradients": lambda: norm_penalty(odd),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name} must be a dense tensor \[B, \*\], but"):
            call()


@pytest.mark.parametrize("draw", [random_interpolate, drawn_epsilon])
def test_the_first_sample(draw):
    samples = (x, x) if draw is random_interpolate else (x,)
    for value in (1.0, None, "1", True, torch.tensor(1)):
        with pytest.raises(TypeError, match=r"^first_sample must be an integer, but it is"):
            draw(*samples, seed, value)
    with pytest.raises(ValueError, match=r"^first_sample must be at least 0, but it is -1"):
        draw(*samples, seed, -1)


def test_what_drawn_epsilon_refuses():
    for value in (torch.tensor([1, 2]), torch.tensor(1.0)):
        with pytest.raises(RuntimeError, match="seed must be one int64 number"):
            drawn_epsilon(x, value)
    with pytest.raises(RuntimeError, match="real must be float64, float32, float16 or bfloat16"):
        drawn_epsilon(x.int(), seed)
    with pytest.raises(RuntimeError, match="real must have a batch dimension"):
        drawn_epsilon(torch.tensor(1.0), seed)
