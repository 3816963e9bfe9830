"""Writes what the studies show into the README and docs/studies, from their tables alone.

python -m tools.gallery
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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
    "score_over_time",
    "architectures",
)


def script(study: str) -> ModuleType:
    if str(EXAMPLES) not in sys.path:  # they import each other as scripts do
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(study)


def question(study: str) -> str:
    """The first line of the script."""
    return (script(study).__doc__ or study).partition("\n")[0]


def words(study: str) -> str:
    """What the study shows."""
    return script(study).summary(rows_of(study))


def tables(study: str) -> list[str]:
    """The table of a study that has one for reading, apart from its CSV."""
    make = getattr(script(study), "table", None)
    if make is None:
        return []
    header, *lines = make(rows_of(study))
    return [pages.numbers(header, lines)]


def rows_of(study: str) -> list[dict[str, Any]]:
    script(study)  # makes what the scripts import importable
    from gan.study import read_rows

    return read_rows(RESULTS / f"{study}.csv")


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
    return "\n\n".join(map(section, STUDIES))


def section(study: str) -> str:
    files = [f"{study}.png", *(path.name for path in RESULTS.glob(f"{study}.gif"))]
    pictures = "\n".join(f"![{question(study)}]({file})" for file in files)
    source = f"`python examples/{study}.py --full`, [{study}.csv]({study}.csv)"
    parts = [f"## {question(study)}", pictures, words(study), *tables(study), source]
    return "\n\n".join(parts)


def main() -> None:
    pages.write("studies", page(), PAGE)
    pages.write("studies", readme(), README)
    print(f"wrote the studies in {PAGE} and {README}")


if __name__ == "__main__":
    main()
