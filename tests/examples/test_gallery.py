"""What the README says of the studies is what their scripts say of the committed tables."""

from __future__ import annotations

import pytest

from tools import gallery, pages


def test_the_readme_is_what_the_generator_makes():
    assert pages.read("studies", gallery.README) == gallery.readme(), "type: make gallery"


def test_the_page_is_what_the_generator_makes():
    assert pages.read("studies", gallery.PAGE) == gallery.page(), "type: make gallery"


def test_every_study_is_shown():
    scripts = gallery.EXAMPLES.glob("*.py")
    studies = {path.stem for path in scripts if "from gan.study import" in path.read_text()}
    assert studies == set(gallery.STUDIES)


@pytest.mark.parametrize("study", gallery.STUDIES)
def test_its_picture_is_there(study):
    picture = gallery.RESULTS / f"{study}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000


@pytest.mark.parametrize(
    ("words", "expected"),
    [("One. Two.", "One."), ("c = 0.01 is one.", "c = 0.01 is one."), ("a: 3.5. b.", "a: 3.5.")],
)
def test_the_headline_is_the_first_sentence(monkeypatch, words, expected):
    monkeypatch.setattr(gallery, "words", lambda _: words)
    assert gallery.headline("any") == expected
