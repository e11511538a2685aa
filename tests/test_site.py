"""The documentation site: built without a warning, complete, and in need of no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

LOADED_BY = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Elements that have a browser load something, and the attribute that says what."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that makes pages."""
    pytest.importorskip("mkdocs", reason="pip install 'hwnas[docs]'")
    monkeypatch.syspath_prepend(str(ROOT))
    import mkdocs_hook

    return mkdocs_hook


def _flags(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if not getattr(parameter, "hidden", False) and parameter.param_type_name == "option":
            yield from parameter.opts


def test_the_page_of_commands_has_every_command_with_its_flags(hook: ModuleType) -> None:
    sections = re.split(r"^## ", hook.commands_page(), flags=re.MULTILINE)[1:]
    told = {heading: text for heading, _, text in (section.partition("\n") for section in sections)}
    commands = {" ".join(words): command for words, command in hook.all_commands()}
    assert told.keys() == commands.keys()
    assert {"hwnas search", "hwnas lut show", "hwnas devices", "hwnas devices check"} <= told.keys()
    for words, command in commands.items():
        assert len(told[words].split("|")[0].strip()) > 10, f"{words}: no help"
        missing = [flag for flag in _flags(command) if f"`{flag}`" not in told[words] and flag != "--help"]
        assert not missing, f"{words}: {missing}"
    assert "--max-latency" in told["hwnas search"], "flags that are made from settings are there too"


def test_the_page_of_commands_tells_defaults_and_what_is_required(hook: ModuleType) -> None:
    _, _, profile = hook.commands_page().partition("## hwnas profile\n")
    rows = dict(re.findall(r"^\| (`[^|]+`) \| (.+) \|$", profile.partition("\n## ")[0], re.MULTILINE))
    assert rows["`--space`"].endswith(r" \[fbnet-s\]") and rows["`--output`, `-o`"].endswith(r" \[required\]")
    assert rows["`--rounds`"].count("80") == 1 and r"\[" not in rows["`--trust-code`"]


def test_the_reference_names_what_the_packages_call_public(hook: ModuleType) -> None:
    page = hook.reference_page()
    for name in ("lut.table.LatencyTable", "search_spaces.space.SearchSpace", "hwnas.search.agent.SearchAgent"):
        assert f"::: {name}\n" in page
    assert page.count("::: ") > 50


def test_every_page_is_in_the_navigation_once(hook: ModuleType) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = list(hook.pages_of(nav))
    assert len(listed) == len(set(listed))
    made = {"commands.md", "reference.md", *(name.lower() for name in hook.FROM_THE_TOP)}
    assert all(page in made or (ROOT / "docs" / page).is_file() for page in listed)


class _Page(HTMLParser):
    """What a page loads, where it links to, and the names of its places."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {value for key in ("id", "name") if (value := found.get(key))}
        if (loaded := found.get(LOADED_BY.get(tag, ""))) and found.get("rel") not in ("prev", "next", "canonical"):
            self.loads.append(loaded)
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)


def _built(folder: Path) -> Path:
    """Return the folder that the site was built into."""
    pytest.importorskip("mkdocs", reason="pip install 'hwnas[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("WARNING|ERROR", done.stdout + done.stderr), done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_leads_somewhere_and_needs_no_other_host(tmp_path: Path) -> None:
    site = _built(tmp_path / "out")
    _require_links_that_lead_somewhere(site)
    _require_no_other_host(site)
    _require_pages_that_are_made(site)


def _require_links_that_lead_somewhere(site: Path) -> None:
    pages = {path: _Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    assert len(pages) > 25
    lost = [
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not re.match(r"[a-z]+:", link) and not _leads_somewhere(path, link, pages)
    ]
    assert lost == []


def _leads_somewhere(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    name, _, anchor = unquote(link).partition("#")
    target = (path.parent / name).resolve() if name else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return False
    return not anchor or target not in pages or anchor in pages[target].names


def _require_no_other_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        remote = [loaded for loaded in _Page(path).loads if re.match(r"(https?:)?//", loaded)]
        assert not remote, f"{path.name} loads {remote}"
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(\s*[\"']?|@import\s+[\"'])(https?:)?//", text), path.name


def _require_pages_that_are_made(site: Path) -> None:
    commands = _Page(site / "commands.html")
    assert {"hwnas-search", "hwnas-lut-show"} <= commands.names
    assert "lut.table.LatencyTable" in _Page(site / "reference.html").names
    assert {"budget", "execution-provider"} <= _Page(site / "glossary.html").names, "words have places"
    assert "glossary.html#budget" in _Page(site / "start.html").links
    assert (site / "security.html").is_file() and (site / "changelog.html").is_file()
