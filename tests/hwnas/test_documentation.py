"""The documentation is where the program says it is."""

from __future__ import annotations

from pathlib import Path

from command_line import run_cli

ROOT = Path(__file__).resolve().parents[2]


def test_pages_are_listed_and_printed() -> None:
    listed = run_cli("docs").out
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert page.stem in listed and text.partition("\n")[0].removeprefix("# ") in listed
        assert run_cli("docs", page.stem).out.strip() == text.strip()


def test_an_unknown_page_names_those_there_are() -> None:
    outcome = run_cli("docs", "../README")
    assert outcome.code == 2 and "unknown page '../README'; there are: api, architecture, boards" in outcome.err
