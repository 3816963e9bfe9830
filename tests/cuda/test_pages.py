"""Generated tables in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simt.planted_bugs import BUGS
from tools import pages


def test_a_table() -> None:
    assert pages.table(["a", "b"], [(1, 2)]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert pages.numbers(["a", "b"], [(1, 2)]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert pages.table(["a", "b"], []) == ""


def test_write_and_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n<!-- begin x -->\nold\n<!-- end x -->\n<!-- begin y -->\n-\n<!-- end y -->"
    )
    pages.write("x", "new\\1\nlines", page)
    assert pages.read("x", page) == "new\\1\nlines"
    assert pages.read("y", page) == "-"
    assert page.read_text().startswith("text\n<!-- begin x -->\nnew")


def test_the_page_counts_the_planted_bugs() -> None:
    assert f"{len(BUGS)} bugs, planted one by one, each caught" in pages.CUDA_PAGE.read_text()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("")
    with pytest.raises(ValueError, match="no place <!-- begin x -->"):
        pages.read("x", page)
