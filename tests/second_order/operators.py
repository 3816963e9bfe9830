"""The operators of docs/double-backward.md, as far as this PyTorch can differentiate them twice."""

import pytest
import torch

from benchmarks.problems.operator_problem import IMPOSSIBLE
from benchmarks.problems.operators import CASES

#: Where ``F.grid_sample`` is called.
samples_grids = pytest.mark.skipif(
    not hasattr(torch._C._functions, "GridSampler2DBackwardBackward0"),
    reason=f"PyTorch {torch.__version__} has no double backward of grid_sample",
)


def _param(case):
    marks = [samples_grids] if case.name.startswith("grid_sample") else []
    return pytest.param(case, id=case.name, marks=marks)


every_operator = pytest.mark.parametrize("case", [_param(case) for case in CASES])
every_possible_operator = pytest.mark.parametrize(
    "case", [_param(case) for case in CASES if case.kind != IMPOSSIBLE]
)
