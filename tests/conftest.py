"""What all tests share: fixed seeds, the backends, and how results are compared."""

import hypothesis
import pytest
import torch

from wgan_fast import native
from wgan_fast.second_order import critic_call
from wgan_fast.second_order.backends import RECURRENT
from wgan_fast.second_order.convolution import convolutions

# The tensors are tiny, and on a busy machine threads would mostly wait for each other. Tests about
# threads set their own number.
torch.set_num_threads(1)

hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session", params=["native", "reference"])
def backend(request):
    """Each backend; the compiled kernels only where they are built."""
    reason = native.why_not("norm_penalty", "cpu")
    if request.param == "native" and reason is not None:
        pytest.skip(f"no compiled kernels: {reason}")
    return request.param


@pytest.fixture
def second_order(request, monkeypatch):
    """What to say as ``second_order``: "auto", "plain", or "forced", which is "auto" for critics
    of any size. Those of the tests are so small that "auto" would leave most of them alone.
    """
    if request.param != "forced":
        return request.param
    monkeypatch.setattr(critic_call, "_REPLACEMENTS", convolutions(0) | RECURRENT)
    for decision in ("may_replace", "may_cut"):
        monkeypatch.setattr(critic_call._Profile, decision, lambda profile, points: True)
    return "auto"
