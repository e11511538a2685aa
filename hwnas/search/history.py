"""The history that a search writes down, one evaluation a line."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import RunError
from hwnas.search.agent import Evaluation
from safe_files.writing import JsonLines, read_json_lines
from search_spaces import Architecture

MAX_CHOICES = 1_000_000
"""The most choices of a decision; a choice beyond is no choice."""


def read_history(path: Path) -> list[tuple[Evaluation, bool]]:
    """Return the evaluations in a history, oldest first, and whether each saw all images; else it is an estimate.

    The search may go on writing meanwhile.

    Raises:
        RunError: the file is damaged.
    """
    try:
        records = read_json_lines(path)
    except ValueError as error:
        raise _damaged(error) from error
    evaluations = [evaluation_of(record, path) for record in records]
    if any("latency_ms" not in evaluation.costs for evaluation in evaluations):
        raise _damaged(f"{path} has an evaluation without latency_ms")
    return [(e, bool(record.get("complete", True))) for e, record in zip(evaluations, records, strict=True)]


def num_recorded(path: Path) -> int:
    """Return how many evaluations a history has, which need not be there yet.

    Raises:
        RunError: the file is damaged.
    """
    return len(read_history(path)) if path.exists() else 0


def merged_histories(paths: Iterable[Path]) -> list[Evaluation]:
    """Return the evaluations in several histories after one another, each network once.

    Where one saw all images and another did not, that one counts.

    Raises:
        RunError: a file is damaged.
    """
    found: dict[Architecture, Evaluation] = {}
    for path in paths:
        for evaluation, is_complete in read_history(path):
            if is_complete or evaluation.architecture not in found:  # else an estimate
                found[evaluation.architecture] = evaluation
    return list(found.values())


def open_history(path: Path) -> JsonLines:
    """Return the history, to be continued by the process that holds the run's lock.

    Raises:
        RunError: the file is damaged.
    """
    try:
        return JsonLines(path)
    except ValueError as error:
        raise _damaged(error) from error


def evaluation_of(record: Mapping[str, Any], path: Path) -> Evaluation:
    """Return the evaluation that a record tells of.

    Raises:
        RunError: it is none.
    """
    architecture, score, costs = (record.get(name) for name in ("architecture", "score", "costs"))
    parts = record.get("parts", [])
    if not (
        isinstance(architecture, list)
        and all(type(choice) is int and 0 <= choice < MAX_CHOICES for choice in architecture)
        and _is_number(score)
        and isinstance(costs, dict)
        and all(map(_is_number, costs.values()))
        and isinstance(parts, list)
        and all(map(_is_number, parts))
        and isinstance(record.get("complete", True), bool)
    ):
        raise _damaged(f"{path} has a line that is no evaluation: {str(record)[:80]}")
    return Evaluation(architecture=tuple(architecture), score=float(record["score"]), costs=costs)


def _is_number(value: object) -> bool:
    """Return whether a value is a number, infinities included; integers too large for a float are none."""
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return isinstance(value, float) and not math.isnan(value)


def _damaged(what: object) -> RunError:
    return RunError(f"{what}; remove the file to search again")
