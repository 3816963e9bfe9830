"""The tables of keywords in the documents are those of the code, an example runs, links lead on."""

import inspect
import re
from pathlib import Path

import pytest

from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise.options import Shared

ROOT = Path(__file__).parents[1]


def table(path, header):
    """``{name: its row}``, from the table with this header."""
    rows = (ROOT / path).read_text().partition(header)[2].partition("\n\n")[0].splitlines()
    return {
        name: row
        for row in rows
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }


def test_the_readme_has_every_argument_with_its_default():
    rows = table("README.md", "| argument | default | meaning |")
    parameters = inspect.signature(fast_gradient_penalty).parameters
    assert set(rows) == set(parameters)
    for name, parameter in parameters.items():
        default = rows[name].split("|")[2].strip().strip("`")
        if parameter.default not in (None, (), parameter.empty):
            assert default in (str(parameter.default), f'"{parameter.default}"'), name


def test_the_list_of_variants_has_every_shared_keyword():
    rows = table("docs/variants.md", "| keyword | default | |")
    assert set(rows) == Shared.__optional_keys__


def test_the_example_of_several_tensors_runs():
    section = (ROOT / "docs/variants.md").read_text().partition("## Samples of several tensors")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(example, names)
    assert names["norms"].shape == (16,)
    assert all(parameter.grad is not None for parameter in names["critic"].send.parameters())


@pytest.mark.parametrize(
    "page", ["README.md", "amp.md", "which-call.md", "migration.md", "variants.md"]
)
def test_links_lead_somewhere(page):
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        headings = (
            re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE) if anchor else []
        )
        anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in anchors, link
