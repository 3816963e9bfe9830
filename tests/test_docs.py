"""The tables of keywords in the documents are those of the code, an example runs, links lead on."""

import inspect
import re
from pathlib import Path

import pytest
import torch

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


def test_the_examples_of_the_readme_run():
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    assert blocks
    names = {}
    for block in blocks:
        exec(block.partition("```")[0], names)
    assert all(parameter.grad is not None for parameter in names["critic"].parameters())


def test_the_example_of_captured_runs():
    (block,) = (ROOT / "docs/captured.md").read_text().split("```python\n")[1:]
    critic = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    before = [parameter.clone() for parameter in critic.parameters()]
    names = {"critic": critic, "real": torch.randn(4, 2), "fake": torch.rand(4, 2)}
    names["optimiser"] = torch.optim.SGD(critic.parameters(), lr=0.1)
    exec(block.partition("```")[0], names)
    assert not all(map(torch.equal, before, critic.parameters()))


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


def test_the_files_that_contributors_are_sent_to_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    names = re.findall(
        r"`((?:wgan_fast|csrc|tests|tools|examples|benchmarks|docs)/[\w./*]+)`", text
    )
    assert len(names) > 40
    assert [name for name in names if not any(ROOT.glob(name))] == []


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which PyTorch's compiler looks at
@pytest.mark.parametrize("index", [0, 1])
def test_the_examples_of_compilers_run(index):
    page = (ROOT / "docs/compilers.md").read_text()
    examples = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    assert len(examples) == 2
    names = {}
    exec(examples[index], names)
    assert names["loss"].isfinite()
    if "gradients" in names:
        penalty = names["critic_loss"](names["critic"], names["real"], names["fake"], gp=10.0)
        assert penalty.shape == names["loss"].shape
        assert any(gradient.any() for gradient in names["gradients"])
    else:
        assert any(parameter.grad.any() for parameter in names["critic"].parameters())


def test_refusals_are_quoted_as_they_are():
    """Those of the table of compilers; what PyTorch says itself has parentheses around it."""
    code = " ".join(path.read_text() for path in (ROOT / "wgan_fast").rglob("*.py"))
    code = (
        re.sub(r'"\s+f?"', "", code)
        .replace("{name}", "scores")
        .replace(
            "{_COMPILED}",
            "torch.compile with aot_autograd does not currently support double backward",
        )
    )
    rows = (ROOT / "docs/compilers.md").read_text().partition("| mode |")[2]
    rows = rows.partition("\n\n")[0].splitlines()
    quoted = [text for row in rows for text in re.findall(r'(?<!\()"([^"]+)"', row)]
    assert len(quoted) == 6
    assert [text for text in quoted if text not in code] == []


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *sorted(path.name for path in (ROOT / "docs").glob("*.md"))],
)
def test_links_lead_somewhere(page):
    path = ROOT / page if (ROOT / page).exists() else ROOT / "docs" / page
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
