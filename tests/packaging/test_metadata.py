"""What pyproject.toml says of the package, and what is in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from tests.packaging.conftest import ROOT, environment

PROJECT = (ROOT / "pyproject.toml").read_text()


def test_everything_imported_is_declared():
    (listed,) = re.findall(r"^dependencies = \[(.*)\]$", PROJECT, re.MULTILINE)
    declared = set(re.findall(r'"(\w+)', listed))
    imported = set()
    for path in (ROOT / "wgan_fast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names - {"wgan_fast"} == declared


def test_the_version_is_written_in_one_place():
    (version,) = re.findall(r'^version = "(.*)"$', PROJECT, re.MULTILINE)
    sources = [*(ROOT / "wgan_fast").rglob("*.py"), ROOT / "setup.py"]
    assert not [path for path in sources if version in path.read_text()]


def test_a_source_folder_that_is_not_installed_has_a_version():
    code = """
from importlib import metadata

def not_installed(name):
    raise metadata.PackageNotFoundError(name)

metadata.version = not_installed
import wgan_fast
print(wgan_fast.__version__)
"""
    env = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "0+source\n", done.stderr
