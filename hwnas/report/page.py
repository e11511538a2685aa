"""The report as one HTML file."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files

from hwnas.artifacts import WINNER
from hwnas.report.answer import answer, head, title
from hwnas.report.classes import class_accuracies, confusion
from hwnas.report.curves import losses, scores
from hwnas.report.facts import Facts
from hwnas.report.figures import Picture
from hwnas.report.fleet import devices
from hwnas.report.headline import headline
from hwnas.report.images import image_sections
from hwnas.report.latency import blocks, predictions
from hwnas.report.markup import Html
from hwnas.report.networks import bundle, networks, settings
from hwnas.report.next_steps import files_and_commands
from hwnas.report.searching import front, progress
from hwnas.report.sliced import layers, parts
from hwnas.report.style import style_sheet

_Part = Picture | str | None


def render(facts: Facts, *, refresh_s: int | None = None) -> str:
    """Return the page; it reloads itself where `refresh_s` is given, and links to no files then."""
    from plotly.offline import get_plotlyjs

    chapters = _chapters(facts, has_links=refresh_s is None)
    drawn = [part for parts in chapters.values() for part in parts if isinstance(part, Picture)]
    template = (files("hwnas") / "templates" / "report.html.txt").read_text(encoding="utf-8")
    figures = {p.name: {"data": p.data, "layout": p.layout} for p in drawn}
    parts = {
        "$TITLE": escape(title(facts)),
        "$REFRESH": f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else "",
        "$STYLE": style_sheet(),
        "$HEAD": head(facts),
        "$CONTENTS": _contents([*chapters]),
        "$ANSWER": answer(facts),
        "$CHAPTERS": "\n".join(_chapter(name, parts) for name, parts in chapters.items()),
        "$PLOTLY": get_plotlyjs(),
        # Neither the end nor the beginning of a script may stand in one.
        "$FIGURES": json.dumps(figures).replace("<", "\\u003c"),
    }
    # One pass: nothing that was put in is looked at again.
    return re.sub("|".join(map(re.escape, parts)), lambda match: parts[match[0]], template)


def _chapters(facts: Facts, *, has_links: bool) -> dict[str, list[Picture | str]]:
    """Return what the report shows, by the titles of its chapters; those of which there is nothing are left out."""
    everything: dict[str, list[_Part]] = {
        "Result": [headline(facts), devices(facts.summary), networks(facts)],
        "Next steps": [files_and_commands(facts, has_links=has_links), *map(bundle, facts.deployments)],
        "Network": [_strip(facts), layers(facts), parts(facts)],
        "Test images": [
            class_accuracies(facts.predictions),
            confusion(facts.predictions),
            image_sections(facts.predictions),
        ],
        "Search": [front(facts), progress(facts)],
        "Training": [losses(facts), scores(facts)],
        "Latency": [predictions(facts), blocks(facts)],
        "Settings": [settings(facts)],
    }
    found = {name: [part for part in parts if part] for name, parts in everything.items()}
    return {name: parts for name, parts in found.items() if parts}


def _contents(names: list[str]) -> str:
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in names)
    return f'<nav aria-label="Contents">{links}</nav>'


def _chapter(name: str, parts: list[Picture | str]) -> str:
    shown = "\n".join(part.as_html() if isinstance(part, Picture) else part for part in parts)
    return f'<section class="chapter" id="{_anchor(name)}"><h2>{escape(name)}</h2>\n{shown}</section>'


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _breakable(name: str) -> str:
    """Return a name that may go on in the next line after its dots and underscores."""
    return re.sub(r"([._])(?=.)", r"\1<wbr>", escape(name))


def _strip(facts: Facts) -> Html | None:
    """Return the winner's choices as boxes; a click on a network in a picture shows that one's."""
    if facts.summary is None:
        return None
    names = [d.name for d in facts.subject.space.decisions]
    boxes = "".join(
        f'<li title="{escape(name)}"><span>{_breakable(name)}</span><b>{escape(choice)}</b></li>'
        for name, choice in zip(names, facts.summary.choices, strict=True)
    )
    return Html(
        '<section><h3>What was chosen</h3><p class="soft">One box a decision, from the input to the output. '
        f'<span class="screen">Clicking a network in a picture shows it here.</span></p><p id="shown">{WINNER}</p>'
        f'<ol id="strip">{boxes}</ol></section>'
    )
