"""Private names of PyTorch: in one file, and the package does without any of them."""

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wgan_fast import _torch_internals
from wgan_fast._torch_internals import LOOKED_UP

ROOT = Path(__file__).parents[1]


@functools.cache
def without_each():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.without_private_names"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("path", LOOKED_UP)
def test_the_penalty_is_the_textbooks_without_a_name(path):
    assert without_each()[path] is None


@pytest.mark.parametrize("path", LOOKED_UP)
def test_this_pytorch_has_every_name(path):
    """Or a fallback would be in use that nobody notices."""
    assert functools.reduce(getattr, path.split("."), torch) is not None


def private_names(source):
    """The attributes of modules of PyTorch that begin with an underscore, and such imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id == "torch" and not node.attr.endswith("__"):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_"))


def test_private_names_are_seen():
    assert list(private_names("torch._C._x()")) == ["torch._C._x", "torch._C"]
    assert list(private_names("from torch.utils._pytree import tree_map")) == ["_pytree"]
    assert list(private_names("from torch.autograd.graph import _x")) == ["_x"]
    assert list(private_names("import torch; self._x; torch.ones(1)")) == []


def test_private_names_are_used_in_one_file_only():
    files = [path for path in ROOT.glob("wgan_fast/**/*.py") if path.stem != "_torch_internals"]
    assert len(files) > 20
    found = {path.name: list(private_names(path.read_text())) for path in files}
    assert {name: names for name, names in found.items() if names} == {}


def test_checkpoint_frames_leave_the_hooks_as_they_are():
    from torch.utils.checkpoint import checkpoint

    seen = []

    def block(x):
        seen.append(len(list(_torch_internals.checkpoint_frames())))
        return x.sin()

    x = torch.randn(3, requires_grad=True)
    outer = checkpoint(lambda x: checkpoint(block, x, use_reentrant=False).cos(), x,
                       use_reentrant=False)  # fmt: skip
    assert seen == [2]
    assert list(_torch_internals.checkpoint_frames()) == []
    (grad,) = torch.autograd.grad(outer.sum(), x)
    assert torch.allclose(grad, -x.sin().sin() * x.cos())
