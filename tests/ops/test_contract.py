"""Every operator on every backend returns what the textbook says, however its input lies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ops.arguments import arguments, cases
from tests.ops.backends import BACKENDS, MISSING
from tests.ops.compare import check_operator
from tests.ops.layouts import DTYPES, LAYOUTS
from tests.ops.operators import KNOWN
from wgan_fast.ops import REGISTRY

everywhere = pytest.mark.parametrize(
    ("backend", "name"), [(backend, name) for backend in BACKENDS for name in REGISTRY]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])


@pytest.mark.parametrize("backend", ["native", "simulated", "cuda"])
def test_this_backend_is_tested(backend):
    if backend in MISSING:
        pytest.skip(f"backend {backend}: {MISSING[backend]}")
    assert backend in BACKENDS


def test_every_operator_has_a_textbook_and_is_in_every_backend():
    for backend, operators in BACKENDS.items():
        assert set(operators) == set(REGISTRY), backend
    assert set(KNOWN) == set(REGISTRY)


@everywhere
@each_dtype
def test_shapes_and_layouts(backend, name, dtype):
    for label, args in cases(name, dtype):
        check_operator(backend, name, args, label)


@everywhere
@each_dtype
def test_the_operators_own_samples(backend, name, dtype):
    for i, args in enumerate(REGISTRY[name].samples(dtype, torch.device("cpu"))):
        check_operator(backend, name, args, f"{name} sample {i}")


@everywhere
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
    variant=st.integers(0, 10**6),
)
def test_any_shape_dtype_and_layout(backend, name, shape, dtype, layout, variant):
    args = arguments(name, shape, dtype, layout, variant)
    check_operator(backend, name, args, f"{name} {shape} {dtype} {layout.__name__} {variant}")
