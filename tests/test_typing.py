"""What a type checker says of the family: a tensor, or with return_norms two of them."""

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import wgan_fast

ROOT = Path(wgan_fast.__file__).parents[1]

#: Each member, with its positional arguments and a keyword of its own.
MEMBERS = {
    "fast_gradient_penalty": "critic, x, x, one_sided=True",
    "r1_penalty": "critic, x, gamma=1",
    "r2_penalty": "critic, x, gamma=1.0",
    "dragan_penalty": "critic, x, target=2",
    "wgan_div_penalty": "critic, x, x, p=2.0, epsilon=None",
    "max_gradient_penalty": "critic, x, x, lambda_gp=1.0",
}
#: The members that are of scores and call no critic.
OF_SCORES = {
    "gradient_penalty_of": "x, x, target=0.0",
    "r1_penalty_of": "x, x, gamma=1",
}
#: What samples may be besides a tensor, and what they may not.
SEVERAL = ["(x, y)", "[x, y]", "{'image': x, 'mask': y}", "Pair(x, y)"]
NOT_SAMPLES = ["{x, y}", "[1.0, 2.0]", "{'image': (x, y)}", "None"]
WRONG = {
    "a word": "return_norms='yes'",
    "an unknown keyword": "gradient=1",
    "another way": "double_backward='fast'",
}

needs_pyright = pytest.mark.skipif(
    importlib.util.find_spec("pyright") is None, reason="pyright is not installed"
)


def reported(tmp_path, lines):
    """The errors of pyright for these lines: line from 0, and message."""
    snippet = tmp_path / "snippet.py"
    snippet.write_text("\n".join(lines))
    config = {"pythonVersion": "3.10", "extraPaths": [str(ROOT)], "include": [str(snippet)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    if "generalDiagnostics" not in done.stdout:
        pytest.skip(f"pyright does not run here: {(done.stderr or done.stdout)[-200:]}")
    return [
        (found["range"]["start"]["line"], found["message"])
        for found in json.loads(done.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    ]


@needs_pyright
def test_every_member(tmp_path):
    lines = ["import torch, wgan_fast", "from typing_extensions import assert_type"]
    lines += ["x = torch.ones(2, 3)", "critic = torch.nn.Linear(3, 1)"]
    both = "tuple[torch.Tensor, torch.Tensor]"
    for name, args in MEMBERS.items():
        call = f"wgan_fast.{name}({args}, chunk_size=2, double_backward='plain', norm=1"
        lines.append(f"assert_type({call}), torch.Tensor)")
        lines.append(f"assert_type({call}, return_norms=False), torch.Tensor)")
        lines.append(f"assert_type({call}, return_norms=True), {both})")
    for name, args in OF_SCORES.items():
        call = f"wgan_fast.{name}({args}, double_backward='plain', norm=1"
        lines.append(f"assert_type({call}), torch.Tensor)")
        lines.append(f"assert_type({call}, return_norms=True), {both})")
    right = len(lines)
    for name, args in (MEMBERS | OF_SCORES).items():
        lines += [f"wgan_fast.{name}({args}, {wrong})" for wrong in WRONG.values()]
    lines += [
        f"wgan_fast.max_gradient_penalty(critic, x, x, {k})"
        for k in ("reduction='sum'", "subset=0.5")
    ]
    errors = reported(tmp_path, lines)
    assert [error for error in errors if error[0] < right] == []
    assert {line for line, _ in errors} == set(range(right, len(lines)))


@needs_pyright
def test_several_tensors(tmp_path):
    """In every member, and in what is beside them."""
    lines = ["import torch, wgan_fast, typing", "from typing_extensions import assert_type"]
    lines += ["x = y = torch.ones(2, 3)", "critic = torch.nn.Linear(3, 1)"]
    lines += ["class Pair(typing.NamedTuple):", "    image: torch.Tensor", "    mask: torch.Tensor"]
    others = {"gradient_norms": "critic, x, x", "consistency_term": "critic, x",
              "approximate_r1": "critic, x"}  # fmt: skip
    calls = [f"wgan_fast.{name}({args})" for name, args in (MEMBERS | others).items()]
    lines += [call.replace(", x", f", {samples}") for call in calls for samples in SEVERAL]
    both = "tuple[torch.Tensor, torch.Tensor]"
    for name in MEMBERS:
        pair = ", ".join(SEVERAL[: MEMBERS[name].count(", x")])
        lines.append(f"assert_type(wgan_fast.{name}(critic, {pair}, return_norms=True), {both})")
    right = len(lines)
    lines += [call.replace(", x", f", {samples}") for call in calls for samples in NOT_SAMPLES]
    errors = reported(tmp_path, lines)
    assert [error for error in errors if error[0] < right] == []
    assert {line for line, _ in errors} == set(range(right, len(lines)))


def test_the_members_are_all_there_are():
    """A new penalty must be typed as the others are."""
    functions = {name: getattr(wgan_fast, name) for name in wgan_fast.__all__}
    penalties = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function)
        and {"return_norms", "shared"} & set(inspect.signature(function).parameters)
    }
    assert penalties == set(MEMBERS | OF_SCORES)


def test_the_package_says_that_it_is_typed():
    assert (Path(wgan_fast.__file__).parent / "py.typed").exists()
