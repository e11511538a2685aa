"""The parts of the report: colours, labels, ticks, the first picture, and the commands it names."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import pytest
from command_line import run_cli

from hwnas.artifacts import NetworkSummary, Summary
from hwnas.report.answer import answer
from hwnas.report.facts import Facts, ModelFile
from hwnas.report.figures import whole_numbers
from hwnas.report.headline import headline
from hwnas.report.labels import _SIDES, HEIGHT_PX, WIDTH_PX, _box, _shared, sides
from hwnas.report.networks import networks
from hwnas.report.next_steps import files_and_commands
from hwnas.report.style import style_sheet
from onnx_models.parity import Parity

NETWORK = NetworkSummary(
    architecture=(0, 1),
    choices=("a", "b"),
    params=1000,
    macs=2000,
    supernet_score=0.5,
    test_accuracy=0.9,
    test_metrics={"accuracy": 0.9},
    predicted_ms=1.1,
    measured_ms=1.0,
    budget_kept=True,
    max_latency_ms=2.0,
)


def _summary(**changes: Any) -> Summary:
    fields = {name: getattr(NETWORK, name) for name in NETWORK.__dataclass_fields__}
    parity = Parity(max_abs_difference=0.0, max_abs_output=1.0, equal_predictions=1.0, num_images=9)
    winners = {
        "winner-slow": replace(NETWORK, architecture=(1, 1), measured_ms=3.0, max_latency_ms=4.0, test_accuracy=0.95),
        "winner-late": replace(
            NETWORK, architecture=(1, 0), measured_ms=0.9, max_latency_ms=0.8, budget_kept=False, advice="search longer"
        ),
    }
    references = {"random": replace(NETWORK, architecture=(0, 0), test_accuracy=0.7)}
    return Summary(**{**fields, **changes}, parity=parity, device="cpu", references=references, winners=winners)


def _facts(summary: Summary, **more: Any) -> Facts:
    subject = SimpleNamespace(percentile=50, settings={"budget": "60%"})
    return cast(Facts, SimpleNamespace(summary=summary, further={}, subject=subject, models=[], **more))


def test_the_first_picture_shows_test_scores_at_measured_latencies_and_every_budget() -> None:
    picture = headline(_facts(_summary()))
    assert picture is not None
    kinds = {trace["name"]: trace for trace in picture.data}
    kept, missed = kinds["winner, keeps its budget"], kinds["misses its budget"]
    assert (kept["text"], kept["x"], kept["y"]) == (["winner", "winner-slow"], [1.0, 3.0], [90.0, 95.0])
    assert missed["text"] == ["winner-late"] and missed["marker"] != kept["marker"]
    assert missed["marker"]["symbol"] != kept["marker"]["symbol"]
    assert [line["x0"] for line in picture.layout["shapes"]] == [0.8, 2.0, 4.0]
    assert [key.name for key in picture.keys] == [
        *("winner, keeps its budget", "misses its budget"),
        "for comparison",
        "budgets",
    ]
    page = picture.as_html()
    assert (
        'role="img"' in page and '<th scope="row" class="text">winner-late</th>' in page and "misses its budget" in page
    )


def test_a_network_that_keeps_one_budget_and_misses_another_is_shown_as_both() -> None:
    summary = _summary()
    tight = replace(NETWORK, max_latency_ms=0.5, budget_kept=False)
    wide = replace(NETWORK, max_latency_ms=5.0)
    picture = headline(_facts(replace(summary, winners={"winner-tight": tight, "winner-wide": wide})))
    assert picture is not None
    kinds = {trace["name"]: trace for trace in picture.data}
    assert kinds["misses its budget"]["text"] == ["winner-tight"]
    assert [words.split(",")[0] for words in kinds["winner, keeps its budget"]["hovertext"]] == ["winner = winner-wide"]


def test_a_missed_budget_is_told_by_words_as_well_as_by_colour() -> None:
    facts = _facts(_summary(budget_kept=False, measured_ms=2.5, advice="give --max-latency 2.5ms"))
    page = answer(facts)
    assert "The winner misses its budget: it takes 2.5 ms on cpu, 25.0% more than the 2 ms allowed" in page
    assert 'class="tile large missed"' in page and "✗ missed" in page and "give --max-latency 2.5ms." in page
    table = networks(facts)
    assert table is not None and table.count("✗ missed") == 2 and table.count("✓ kept") == 2
    unmeasured = answer(_facts(_summary(budget_kept=None, measured_ms=None)))
    assert "kept by prediction" in unmeasured and "Nothing was measured there" in unmeasured and "✗" not in unmeasured


@pytest.mark.parametrize("most", [1, 2, 7, 10, 11, 60, 99, 350, 1000])
def test_what_is_counted_has_whole_numbers_on_its_axis(most: int) -> None:
    ticks = whole_numbers(most)
    assert isinstance(ticks["dtick"], int) and most / ticks["dtick"] <= 10
    assert ticks["range"][0] < 1 and ticks["range"][1] > most and ticks["tick0"] == 0


def test_names_of_points_that_are_close_do_not_cross() -> None:
    places = {"winner": (1.0, 90.0), "winner-40pct": (1.02, 90.5), "random": (1.04, 89.8), "largest": (2.0, 91.0)}
    ranges = ([0.5, 2.5], [85.0, 95.0])
    found = sides(places, ranges, [1.5])
    assert found.keys() == places.keys() and set(found.values()) <= _SIDES.keys()
    pixels = {name: ((x - 0.5) / 2 * WIDTH_PX, (y - 85) / 10 * HEIGHT_PX) for name, (x, y) in places.items()}
    boxes = [_box(name, pixels[name], *_SIDES[side]) for name, side in found.items()]
    assert all(_shared(one, other) == 0 for one, other in combinations(boxes, 2))


def test_text_can_be_read_on_every_ground() -> None:
    light, dark = style_sheet().split("@media screen and (prefers-color-scheme: dark)")
    grounds = {"back": ("front", "soft", "accent", "kept", "missed"), "card": ("front", "soft"), "kept-card": ("kept",)}
    grounds |= {"missed-card": ("missed", "front", "soft"), "right-fill": ("front",), "missed-fill": ("front",)}
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", scheme))
        for ground, texts in grounds.items():
            for text in texts:
                assert _contrast(colours[ground], colours[text]) >= 4.5, (ground, text)


def _contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG 2.2 defines it."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def test_models_are_linked_and_commands_exist() -> None:
    facts = _facts(_summary(budget_kept=False, measured_ms=2.51))
    facts.models.append(ModelFile(path="export/a b.onnx", network="winner", size_bytes=2048, batch="1"))
    page, served = (files_and_commands(facts, has_links=has_links) for has_links in (True, False))
    assert page is not None and 'href="export/a%20b.onnx"' in page and served is not None and "href" not in served
    commands = [line.split() for line in re.findall(r"<code>hwnas ([^<]+)</code>", page)]
    assert commands[0] == ["search", "--from", "RUN", "--max-latency", "2.6ms", "--out", "OTHER"] and len(commands) == 6
    for name, *arguments in commands:
        told = run_cli(name, "--help")
        assert told.code == 0 and all(flag in told.out for flag in arguments if flag.startswith("--")), name
