"""The examples with Lightning and Accelerate train, in one process and in two."""

import os
import warnings

import pytest
import torch

from .examples import EXAMPLES

INTEGRATIONS = {"lightning_module": "lightning", "accelerate_loop": "accelerate"}
NEEDS = 'is not installed: pip install "wgan_fast[integrations]"'


def weights_after(script, arguments, rank=None):
    """The critic's weights, as lists, after training; of a process that torchrun has started."""
    if rank is None:
        rank = torch.distributed.get_rank()
        of_torchrun = {"TORCHELASTIC_RUN_ID": "tests", "WORLD_SIZE": "2", "RANK": str(rank)}
        os.environ.update(of_torchrun, LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
        os.environ.update(MASTER_PORT="0", LOCAL_WORLD_SIZE="2", GROUP_RANK="0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = __import__(script).main(arguments)
    critic = getattr(trained, "critic", trained)
    return [weight.tolist() for weight in critic.parameters()]


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_in_one_process(script):
    pytest.importorskip(INTEGRATIONS[script], reason=f"{INTEGRATIONS[script]} {NEEDS}")
    few, more = (weights_after(script, ["--steps", steps], 0) for steps in ("1", "12"))
    assert few != more


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_in_two_processes(pair, script):
    """Their samples differ, and so would their weights if gradients were not averaged."""
    pytest.importorskip(INTEGRATIONS[script], reason=f"{INTEGRATIONS[script]} {NEEDS}")
    devices = ["--devices", "2"] if script == "lightning_module" else []
    first, second = pair.run(weights_after, script, ["--steps", "12", *devices])
    assert first == second
    assert first != pair.run(weights_after, script, ["--steps", "1", *devices])[0]


@pytest.mark.parametrize("script", INTEGRATIONS)
def test_they_are_short(script):
    assert len((EXAMPLES / "integrations" / f"{script}.py").read_text().splitlines()) < 80
