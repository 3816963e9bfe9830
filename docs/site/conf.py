"""The documentation site, built by ``make docs`` from the repository's Markdown and docstrings.

Sphinx rather than MkDocs, because the docstrings are reStructuredText: roles, ``.. math::``. The
pages are the repository's own files, where they lie: what is read on the site is what is read
beside the code, and a link between two of them holds in both places. The first page is the README.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import wgan_fast  # noqa: E402 - from this folder

project = "wgan_fast"
author = copyright = "wgan_fast contributors"
version = release = wgan_fast.__version__

root_doc = "README"
#: The navigation: a caption, and its pages. What is not listed here is not on the site, and what
#: is listed and missing is an error.
PAGES: dict[str, list[str]] = {
    "Use": [
        "docs/which-call",
        "docs/compilers",
        "docs/captured",
        "docs/variants",
        "docs/migration",
        "docs/amp",
        "docs/distributed",
    ],
    "Reference": [
        "docs/api/penalties",
        "docs/api/critic-step",
        "docs/api/losses",
        "docs/api/second-order",
        "docs/api/operators",
    ],
    "How it works": [
        "docs/double-backward",
        "docs/cuda",
        "docs/abi",
        "simt/README",
        "docs/internals",
    ],
    "Numbers": [
        "benchmarks/README",
        "benchmarks/REPORT",
        "docs/studies/README",
    ],
    "Project": [
        "CONTRIBUTING",
        "CHANGELOG",
        "docs/releases/0.1.0",
        "SECURITY",
    ],
}
include_patterns = [
    f"{page}.md" for page in (root_doc, *(page for pages in PAGES.values() for page in pages))
]
exclude_patterns = [".venv", "build", "dist", "runs"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_enable_extensions = ["html_image", "dollarmath"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell types and shapes
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
nitpicky = False  # torch's own pages are not there to be linked to, without a network

html_theme = "furo"
html_title = f"wgan_fast {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def with_navigation(app: Any, name: str, source: list[str]) -> None:
    """Appends the navigation to the README, where the site alone sees it."""
    if name != root_doc:
        return
    for caption, pages in PAGES.items():
        listed = "\n".join(f"/{page}" for page in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def setup(app: Any) -> None:
    app.connect("source-read", with_navigation)
