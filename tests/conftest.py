"""What all tests share: fixed seeds, the backends, and how results are compared."""

import hypothesis
import pytest
import torch

from wgan_fast.ops import _native as native
from wgan_fast.second_order import without_thresholds

# The tensors are tiny, and on a busy machine threads would mostly wait for each other. Tests about
# threads set their own number.
torch.set_num_threads(1)

hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def threads():
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=["native", "pytorch", "reference"])
def backend(request):
    """Each backend; the compiled kernels only where they are built."""
    reason = native.why_not("norm_penalty", "cpu")
    if request.param == "native" and reason is not None:
        pytest.skip(f"no compiled kernels: {reason}")
    return request.param


@pytest.fixture
def double_backward(request):
    """What to say as ``double_backward``: "pruned", "plain", or "always", which is "pruned" for
    critics of any size. Those of the tests are so small that "pruned" would leave most alone.
    """
    if request.param != "always":
        yield request.param
        return
    with without_thresholds():
        yield "pruned"
