"""Any line at all is an event that fits, or refused in our own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profilers.errors import WorkerLostError
from profilers.events import Event, Round, parse_event

GOOD: tuple[dict[str, Any], ...] = (
    {"event": "started", "onnxruntime": "1.20", "cores": [0], "health": {"temperature_c": 50.0, "free_mb": None}},
    {"event": "failed", "index": 0, "message": "no"},
    {"event": "opened", "index": 0, "outputs": [[0.5, None], []]},
    {"event": "inspected", "operations": ["Conv"], "operation_us": [2.5], "energy_mj": 1.5},
    {
        "event": "dissected",
        "graph": "eJw=",
        "nodes": [
            {"name": "", "operation": "Conv", "provider": "", "inputs": [{"float": [1]}], "outputs": [], "us": [3]}
        ],
        "plain": {"wall_ns": [5], "cpu_ns": [5]},
        "profiled": {"wall_ns": [5], "cpu_ns": [5]},
    },
    {"event": "visiting", "index": 0},
    {
        "event": "round",
        "order": [0],
        "wall_ns": [5],
        "cpu_ns": [0],
        "first_ns": None,
        "throttled": False,
        "pace": [1, 0],
    },
    {"event": "pace", "wall_ns": [5], "cpu_ns": [5]},
    {"event": "tuned", "key": "a", "number": 1, "seconds": 0.0, "error": None},
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def _parsed(line: bytes) -> Event | None:
    """The event; None where it is refused, printably."""
    try:
        return parse_event(line)
    except WorkerLostError as error:
        assert str(error).isprintable() and len(str(error)) < 1500
        return None


@pytest.mark.parametrize("event", GOOD, ids=[event["event"] for event in GOOD])
def test_good_events_are_taken(event: dict[str, Any]) -> None:
    assert _parsed(json.dumps(event).encode()) is not None


@settings(max_examples=200, deadline=None)
@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(line: bytes) -> None:
    assert _parsed(line) is None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_taken_of_a_changed_event_is_in_its_ranges(data: st.DataObject) -> None:
    event = dict(data.draw(st.sampled_from(GOOD)))
    name = data.draw(st.sampled_from(sorted(event)))
    event[name] = data.draw(VALUES | st.lists(st.integers(-2, 2**70)))
    found = _parsed(json.dumps(event).encode())
    if isinstance(found, Round):
        assert len(found.order) == len(found.wall_ns) == len(found.cpu_ns)
        assert all(0 < ns <= 86_400 * 10**9 for ns in found.wall_ns)
        assert all(0 <= ns <= 86_400 * 10**9 for ns in found.cpu_ns)
