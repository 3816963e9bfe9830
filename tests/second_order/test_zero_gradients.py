"""The tables of what is zero by construction, against PyTorch itself."""

import re
from pathlib import Path

import pytest
import torch
import torchgen

from wgan_fast.second_order.zero_gradients import SILENT_GRADIENTS, ZERO_GRADIENTS

DERIVATIVES = Path(torchgen.__file__).parent / "packaged" / "autograd" / "derivatives.yaml"

#: Formulas that are nothing but zeros.
ALL_ZERO = re.compile(r"(at::)?zeros(_like|_symint)\([^()]*(\([^()]*\))?[^()]*(\([^()]*\))?\)")


#: What releases before 2.13 do not have, or have no derivative of.
NEWER = {
    "CudnnGridSamplerBackwardBackward0",
    "GridSampler2DBackwardBackward0",
    "GridSampler2DCpuFallbackBackwardBackward0",
    "GridSampler3DBackwardBackward0",
    "NextafterBackward0",
}
IS_OLDER = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13)


@pytest.mark.parametrize("name", [*ZERO_GRADIENTS, *SILENT_GRADIENTS])
def test_gradient_function_exists(name):
    """By name: a new PyTorch that renames one would bring the waste back without a word."""
    if IS_OLDER and name in NEWER:
        pytest.skip(f"PyTorch {torch.__version__} need not have {name}")
    assert hasattr(torch._C._functions, name), (
        f"PyTorch {torch.__version__} has no gradient function {name}: look up its new name in "
        "derivatives.yaml and enter it in wgan_fast/second_order/zero_gradients.py"
    )


def entries() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each function of derivatives.yaml and its formulas, in the order of its arguments."""
    found = []
    text = DERIVATIVES.read_text()
    for block in re.split(r"^- name: +", text, flags=re.MULTILINE)[1:]:
        signature, *lines = block.splitlines()
        name, arguments = re.match(r"(\w+)(?:\.\w+)?\((.*)\)(?: ->|$)", signature).groups()
        tensors = re.findall(r"Tensor(?:\([a-z]!?\))?\??(?:\[\])? (\w+)", arguments)
        formulas = {}
        for line in lines:
            match = re.match(r"  (\w+(?:, \w+)*): (.*)", line)
            if match and match[2] != "non_differentiable":
                formulas |= dict.fromkeys(match[1].split(", "), match[2])
        found.append((name, [(n, formulas[n]) for n in tensors if n in formulas]))
    return found


def gradient_functions() -> dict[str, tuple[int, ...]]:
    """Gradient function -> the indices whose formula is nothing but zeros, where there are any."""
    found, counts = {}, {}
    for name, formulas in entries():
        camel = "".join(part.title() for part in name.rstrip("_").split("_"))
        number = counts[camel] = counts.get(camel, -1) + 1
        zero = tuple(i for i, (_, f) in enumerate(formulas) if ALL_ZERO.fullmatch(f))
        if zero:
            found[f"{camel}Backward{number}"] = zero
    return found


def test_every_formula_of_zeros_is_in_the_table():
    theirs = gradient_functions()
    # The two formulas that are zero by another road: a function, and a case distinction.
    theirs["SgnBackward0"] = (0,)
    theirs["PreluKernelBackwardBackward0"] = (1,)
    ours = {name: i for name, i in ZERO_GRADIENTS.items() if not (IS_OLDER and name in NEWER)}
    theirs = {name: i for name, i in theirs.items() if not (IS_OLDER and name in NEWER)}
    assert dict(sorted(theirs.items())) == dict(sorted(ours.items()))
