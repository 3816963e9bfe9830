"""The examples with Lightning and Accelerate train, in one process and in two."""

import os
import warnings
from unittest import mock

import pytest
import torch

from .examples import EXAMPLES

INTEGRATIONS = {"lightning_module": "lightning", "accelerate_loop": "accelerate"}
NEEDS = "is not installed: pip install --group integrations"


def weights_after(script, arguments):
    """The critic's weights, as lists, after training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = __import__(script).main(arguments)
    critic = getattr(trained, "critic", trained)
    return [weight.tolist() for weight in critic.parameters()]


def weights_here(script, arguments):
    """The same in a process that takes itself for one that torchrun has started."""
    rank = str(torch.distributed.get_rank())
    of_torchrun = {
        "TORCHELASTIC_RUN_ID": "tests", "GROUP_RANK": "0", "RANK": rank, "LOCAL_RANK": rank,
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0",
    }  # fmt: skip
    with mock.patch.dict(os.environ, of_torchrun):
        return weights_after(script, arguments)


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_in_one_process(script):
    pytest.importorskip(INTEGRATIONS[script], reason=f"{INTEGRATIONS[script]} {NEEDS}")
    few, more = (weights_after(script, ["--steps", steps]) for steps in ("1", "12"))
    assert few != more


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_in_two_processes(pair, script):
    """Their samples differ, and so would their weights if gradients were not averaged."""
    pytest.importorskip(INTEGRATIONS[script], reason=f"{INTEGRATIONS[script]} {NEEDS}")
    devices = ["--devices", "2"] if script == "lightning_module" else []
    first, second = pair.run(weights_here, script, ["--steps", "12", *devices])
    assert first == second
    assert first != pair.run(weights_here, script, ["--steps", "1", *devices])[0]


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_they_are_short(script):
    assert len((EXAMPLES / "integrations" / f"{script}.py").read_text().splitlines()) < 80
