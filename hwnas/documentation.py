"""The pages of the documentation, which come with the package: messages name them as `hwnas docs PAGE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwnas.errors import RequestError
from safe_files import read_text


def folder() -> Path:
    """Return where the pages are: beside this module in an installed wheel, at the top of the tree in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "docs"
    return inside if inside.is_dir() else here.parent / "docs"


def pages() -> Mapping[str, Path]:
    """Return the pages by name."""
    return {path.stem: path for path in sorted(folder().glob("*.md"))}


def title(page: Path) -> str:
    """Return the heading of a page."""
    return read_text(page).partition("\n")[0].lstrip("# ")


def text_of(name: str) -> str:
    """Return a page as it is written, in Markdown.

    Raises:
        RequestError: there is none of that name.
    """
    found = pages()
    if name not in found:
        raise RequestError(f"unknown page {name!r}; there are: {', '.join(found)}")
    return read_text(found[name])
