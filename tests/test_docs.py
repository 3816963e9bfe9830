"""The tables of keywords in the documents are those of the code, an example runs, links lead on."""

import functools
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import torch

import wgan_fast
from wgan_fast import fast_gradient_penalty
from wgan_fast._penalise.options import Shared

ROOT = Path(__file__).parents[1]

#: Every page that is read by people, as a path.
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "simt/*.md")
    for path in ROOT.glob(pattern)
)
#: Which test runs the examples in Python of a page, and how many there are.
EXAMPLES = {
    "README.md": ("tests/test_docs.py", 1),
    "CONTRIBUTING.md": ("an excerpt of wgan_fast/second_order/layers/normalisations.py", 1),
    "docs/amp.md": ("tests/test_amp.py", 2),
    "docs/captured.md": ("tests/test_docs.py", 1),
    "docs/compilers.md": ("tests/test_docs.py", 2),
    "docs/distributed.md": ("tests/distributed/test_page.py", 3),
    "docs/variants.md": ("tests/test_docs.py", 5),
    "docs/which-call.md": ("tests/test_which_call.py", 13),
    "simt/README.md": ("tests/simt/test_simulated_gpu.py", 1),
}


def examples_of(page):
    """The blocks of Python on a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_every_example_is_run():
    found = {page: len(examples_of(page)) for page in PAGES}
    listed = {page: count for page, (_, count) in EXAMPLES.items()}
    assert {page: count for page, count in found.items() if count} == listed
    for page, (test, _) in EXAMPLES.items():
        assert not test.startswith("tests/") or Path(page).name in (ROOT / test).read_text()


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
    names = {}
    exec(examples_of("docs/variants.md")[0], names)
    assert names["norms"].shape == (16,)
    assert all(parameter.grad is not None for parameter in names["critic"].send.parameters())


class Prototypes(torch.nn.Linear):
    """Scores that take a label for each sample and a table for the whole batch, or the latter."""

    def forward(self, x, labels=None, table=None):
        if table is not None:
            x = x * (table.mean(0) if labels is None else table[labels])
        return super().forward(x).squeeze(1)


def test_the_examples_of_variants_run_one_after_the_other(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    critic, generator = Prototypes(4, 1), torch.nn.Linear(2, 4)
    names = {name: getattr(wgan_fast, name) for name in wgan_fast.__all__}
    names |= {"torch": torch, "critic": critic, "generator": generator}
    names |= {"real": torch.randn(96, 4), "fake": torch.rand(96, 4), "noise": torch.randn(8, 2)}
    names |= {"labels": torch.arange(96) % 3, "table": torch.rand(96, 4)}
    sliced, lazily, frozen, compiled = examples_of("docs/variants.md")[1:]
    exec(sliced, names)
    exec(lazily, names)
    names["loss"].backward()
    assert critic.weight.grad.any()
    critic.zero_grad()
    exec(frozen, names)
    assert generator.weight.grad.any()
    assert critic.weight.grad is None
    exec(compiled, names)
    names["penalty"].backward()
    assert critic.weight.grad.any()


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


def test_commands_are_there():
    """Every ``make TARGET``, and every ``python -m MODULE`` of this repository."""
    makefiles = [ROOT / "Makefile", *(ROOT / "make").glob("*.mk")]
    targets = {
        name for path in makefiles for name in re.findall(r"^([\w-]+):", path.read_text(), re.M)
    }
    texts = {page: (ROOT / page).read_text() for page in PAGES}
    made = {
        name
        for text in texts.values()
        for name in re.findall(r"(?:^|`)make ([a-z-]+)(?=`|$| +#)", text, re.M)
    }
    assert len(made) > 10
    assert made - targets == set()
    folders = "wgan_fast|benchmarks|tools|tests"
    run = {n for text in texts.values() for n in re.findall(rf"-m\s+((?:{folders})[\w.]*)", text)}
    assert len(run) > 10
    assert {name for name in run if importlib.util.find_spec(name.rstrip(".")) is None} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
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
