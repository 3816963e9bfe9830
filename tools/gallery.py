"""Writes what the studies show into the README and docs/studies, from their tables alone.

python -m tools.gallery
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from . import pages

ROOT = Path(__file__).parents[1]
EXAMPLES, RESULTS = ROOT / "examples", ROOT / "docs" / "studies"
README, PAGE = ROOT / "README.md", RESULTS / "README.md"

#: In the order of what they build on.
STUDIES = (
    "distances",
    "value_surface",
    "gradient_flow",
    "clipping_is_not_lipschitz",
    "mode_coverage",
    "memorising",
    "sample_quality",
)

INTRODUCTION = """\
# The studies

Why penalise a gradient, and what else was tried: one script each, in [examples](../../examples).
The pictures and the words below are made from the tables beside them, and the tables by
`make studies-full`; `make studies` makes smaller ones in `runs/studies`.
"""


def script(study: str) -> ModuleType:
    if str(EXAMPLES) not in sys.path:  # they import each other as scripts do
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(study)


def question(study: str) -> str:
    """The first line of the script."""
    return (script(study).__doc__ or study).partition("\n")[0]


def words(study: str) -> str:
    """What the study shows."""
    from gan.study import read_rows  # found once the scripts are

    return script(study).summary(read_rows(RESULTS / f"{study}.csv"))


def headline(study: str) -> str:
    """The first sentence of what the study shows."""
    return words(study).partition(". ")[0].removesuffix(".") + "."


def readme() -> str:
    """A line and a small picture for each study."""
    rows = [
        (
            f'<img src="docs/studies/{study}.png" width="320" alt="{study}">',
            f"**[{question(study)}](examples/{study}.py)**<br>{headline(study)}",
        )
        for study in STUDIES
    ]
    return pages.table(["", ""], rows)


def page() -> str:
    """All that the studies show."""
    return "\n".join([INTRODUCTION, *map(section, STUDIES)])


def section(study: str) -> str:
    files = [f"{study}.png", *(path.name for path in RESULTS.glob(f"{study}.gif"))]
    pictures = "\n".join(f"![{question(study)}]({file})" for file in files)
    source = f"`python examples/{study}.py --full`, [{study}.csv]({study}.csv)"
    return f"## {question(study)}\n\n{pictures}\n\n{words(study)}\n\n{source}\n"


def main() -> None:
    PAGE.write_text(page())
    pages.write("studies", readme(), README)
    print(f"wrote {PAGE} and the studies in {README}")


if __name__ == "__main__":
    main()
