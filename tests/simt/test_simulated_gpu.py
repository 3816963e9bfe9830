"""The simulated GPU itself: what holds for its launches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from simt.backend import SimulatedGpu

pytestmark = pytest.mark.simt("plain")


def test_launches_are_recorded() -> None:
    gpu = SimulatedGpu(max_blocks=3)
    x = torch.randn(4, 5000)
    gpu.module.take_launches()
    gpu.norm_penalty(x, 1.0, False, 2.0, 1.0, True)
    gpu.interpolate_backward(x, torch.rand(4))
    assert gpu.module.take_launches() == [
        ("norms_by_segments<NormPenaltyArgs<float>>", 3, 256),
        ("map_rows<InterpolateBackward<float>>", 3, 256),
    ]
    assert gpu.module.take_launches() == []


def test_the_example_of_its_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "simt" / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(example, {})
    assert f"# {capsys.readouterr().out}" in example


def test_empty_batches_launch_nothing() -> None:
    gpu = SimulatedGpu()
    gpu.module.take_launches()
    assert gpu.interpolate(torch.ones(0, 3), torch.ones(0, 3), torch.ones(0)).shape == (0, 3)
    assert gpu.interpolate_backward(torch.ones(2, 0), torch.ones(2))[0].shape == (2, 0)
    assert gpu.module.take_launches() == []


def test_unknown_type() -> None:
    with pytest.raises(RuntimeError, match=r"must be float64, .* but it is torch.int64"):
        SimulatedGpu().interpolate(torch.ones(2, 3).long(), torch.ones(2, 3).long(), torch.ones(2))


def test_offsets_beyond_32_bits() -> None:
    """Two rows 4 GiB apart; of the memory between them nothing is touched."""
    gpu = SimulatedGpu()
    stride = 2**31 + 8
    far = torch.empty(stride + 64, dtype=torch.float16).as_strided((2, 40), (stride, 1))
    near = torch.randn(2, 40).half()
    far.copy_(near)
    settings = (1.0, False, 2.0, 1.0, True)
    for a, b in zip(
        gpu.norm_penalty(far, *settings), gpu.norm_penalty(near, *settings), strict=True
    ):
        assert torch.equal(a, b)
    assert torch.equal(
        gpu.interpolate(far, far, torch.rand(2)), gpu.interpolate(near, near, torch.rand(2))
    )
