"""What is generated in the documentation: tables, and the places where they stand.

What is generated stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

CUDA_PAGE = Path(__file__).parents[1] / "docs" / "cuda.md"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], column: str = "---") -> str:
    """A Markdown table, or nothing if there are no rows; ``column`` is the rule under every column
    but the first."""
    rows = list(rows)
    if not rows:
        return ""
    lines = [header, ["---", *[column] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def numbers(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose columns after the first are aligned to the right."""
    return table(header, rows, "---:")


def _place(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)


def read(name: str, page: Path = CUDA_PAGE) -> str:
    """What stands in the place ``name`` now."""
    text = page.read_text()
    match = _place(name).search(text)
    if match is None:
        raise ValueError(f"{page} has no place <!-- begin {name} -->")
    return text[match.end(1) : match.start(2)]


def write(name: str, content: str, page: Path = CUDA_PAGE) -> None:
    """Puts ``content`` in the place ``name``."""
    read(name, page)
    page.write_text(_place(name).sub(lambda m: m[1] + content + m[2], page.read_text()))
