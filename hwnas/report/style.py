"""The style sheet of every page that hwnas makes: its colours and type are in style.css and nowhere else."""

from __future__ import annotations

from importlib.resources import files


def style_sheet() -> str:
    """Return the text of the style sheet, to be put into a page: pages name no other file."""
    return (files("hwnas.report") / "style.css").read_text(encoding="utf-8")
