"""What the documentation site has besides docs/*.md: pages that are made when it is built, and links between them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from hwnas.cli.app import app

ROOT = Path(__file__).resolve().parent
FROM_THE_TOP = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Pages of the site that lie beside docs, where people look for them in a checkout."""

PACKAGES = {
    "hwnas": "The Python interface.",
    "hwnas.search": "Search agents: which architectures to try next. Inherit from `SearchAgent`.",
    "hwnas.evaluators": "Evaluators: the score of an architecture. Write a class with `Evaluator`'s method.",
    "hwnas.agents": "Training agents: the loss and the metrics of a task. Inherit from `TrainingAgent`.",
    "hwnas.training": "Training strategies: the paths that a step trains. Inherit from `TrainingStrategy`.",
    "hwnas.dataflow": "Data sets.",
    "lut": "Latency tables: building, reading and writing them, and predicting from them.",
    "profilers": "Devices, and timing ONNX models on them.",
    "search_spaces": "Search spaces and their blocks.",
}
"""What the reference documents: the public names (`__all__`) of these, and what they are for."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Call headings what GitHub calls them, so that links to them lead there in a checkout and on the site."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of docs is; those that mkdocs.yml does not place come under "More"."""
    made = {"commands.md": commands_page(), "reference.md": reference_page()}
    for name in FROM_THE_TOP:
        made[name.lower()] = (ROOT / name).read_text(encoding="utf-8")
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    assert config.nav is not None, "mkdocs.yml has one"
    listed = set(pages_of(config.nav))
    if left := sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in listed):
        config.nav.append({"More": left})
    return files


def pages_of(nav: list[Any]) -> Iterator[str]:
    """Yield the pages that a part of the navigation names."""
    for entry in nav:
        for inner in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages_of(inner) if isinstance(inner, list) else [inner]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links that lead out of docs in a checkout lead to the site's pages, words to their place in the glossary."""
    markdown = re.sub(r"\[([^]]+)\]\(glossary\.md\)", _to_its_place, markdown)
    if page.file.src_uri == "glossary.md":
        markdown = re.sub(r"^\| ([^|]+?) \|", _as_places, markdown, flags=re.MULTILINE)
    if page.file.src_uri in {name.lower() for name in FROM_THE_TOP}:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    for name in FROM_THE_TOP:
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({name.lower()}", markdown)
    return markdown


def words() -> set[str]:
    """Return the words that the glossary explains."""
    rows = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {word for row in rows[1:] for word in row.split(", ")}


def _to_its_place(link: re.Match[str]) -> str:
    word = next((word for word in (link[1].lower(), link[1].lower().removesuffix("s")) if word in words()), None)
    return link[0] if word is None else f"[{link[1]}](glossary.md#{word.replace(' ', '-')})"


def _as_places(row: re.Match[str]) -> str:
    known = [word for word in row[1].split(", ") if word in words()]
    places = "".join(f'<a id="{word.replace(" ", "-")}"></a>' for word in known)
    return f"| {places}{row[1]} |"


def reference_page() -> str:
    """Return the page of the Python reference: a directive for every public name, which mkdocstrings documents."""
    lines = [
        "# Python reference",
        "",
        "The public names of the packages, from their docstrings. Names that are not here may change at any time.",
    ]
    for package, purpose in PACKAGES.items():
        if names := list(public_names(package)):
            lines += ["", f"## {package}", "", purpose]
            lines += [line for name in names for line in ("", f"::: {name}")]
    return "\n".join(lines) + "\n"


def public_names(package: str) -> Iterator[str]:
    """Yield the full name of every class and function that a package calls public, as the module that has it says."""
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        is_documented = inspect.isclass(thing) or inspect.isfunction(thing)
        if is_documented and thing.__module__.split(".")[0] in {key.split(".")[0] for key in PACKAGES}:
            yield f"{thing.__module__}.{thing.__qualname__}"


def commands_page() -> str:
    """Return the page of all commands, their arguments and flags, as the program itself knows them."""
    lines = [
        "# Commands",
        "",
        "What `hwnas COMMAND --help` says, of every command. In brackets is the default.",
        "`-h` and `--help` go with each, `hwnas --version` prints the version.",
        "",
        "Exit codes: 0 done, 2 the request was wrong, 1 the work failed or its result is not to be trusted,",
        "130 and 143 ended by Ctrl-C and by SIGTERM.",
    ]
    for words, command in all_commands():
        lines += ["", f"## {' '.join(words)}", "", plain(command.help)]
        lines += table_of([p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"])
    return "\n".join(lines) + "\n"


def all_commands() -> Iterator[tuple[list[str], Any]]:
    """Yield every command that does something, with its words, in the order of `hwnas --help`."""

    def below(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        if not hasattr(command, "commands"):
            yield words, command.whole() if hasattr(command, "whole") else command
            return
        if getattr(command, "invoke_without_command", False):
            yield words, command
        for name, inner in command.commands.items():
            yield from below([*words, name], inner)

    yield from below(["hwnas"], typer.main.get_command(app))


def table_of(parameters: list[Any]) -> list[str]:
    """Return the rows of a table of parameters, arguments first; nothing where there are none."""
    if not parameters:
        return []
    rows = ["", "| argument or flag | meaning |", "| --- | --- |"]
    for parameter in sorted(parameters, key=lambda one: one.param_type_name != "argument"):
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "argument":
            names = [parameter.name.upper()]
        told = plain(getattr(parameter, "help", None)).replace("|", "\\|") + default_of(parameter)
        rows.append(f"| {', '.join(f'`{name}`' for name in names)} | {told} |")
    return rows


def default_of(parameter: Any) -> str:
    """Return what the program adds to a help text in brackets: a default that the text does not tell, or the need."""
    if parameter.required:
        return r" \[required\]"
    default = parameter.default
    is_told = isinstance(default, str | int | float | Path) and not isinstance(default, bool) and default != ""
    return rf" \[{default}\]" if is_told and getattr(parameter, "show_default", False) else ""


def plain(text: str | None) -> str:
    """Return a help text without its marks for rich, and safe in Markdown: `<` and `*` stand for themselves."""
    told = re.sub(r"\\\[", "[", inspect.cleandoc(text or ""))
    return re.sub(r"([*_<\[\]])", r"\\\1", told)
