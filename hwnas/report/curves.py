"""Pictures of trainings: loss and score by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from hwnas.report.facts import Facts
from hwnas.report.figures import NEUTRAL, SERIES, Key, Picture, axes, whole_numbers
from hwnas.report.markup import Column
from hwnas.training.trainer import EpochRecord, best_epoch

COLUMNS = (
    Column(name="training", is_text=True),
    Column(name="epochs"),
    Column(name="first loss"),
    Column(name="last loss"),
    Column(name="epoch kept"),
    Column(name="score then"),
    Column(name="images/s"),
)


def losses(facts: Facts) -> Picture | None:
    """Return the picture of the losses; None before the first epoch."""
    values = {name: [row.loss for row in rows] for name, rows in facts.curves.items() if rows}
    if not values:
        return None
    has_scores = any(row.score is not None for rows in facts.curves.values() for row in rows)
    return Picture(
        name="curves",
        title="Loss of each training",
        text="What training minimises, by epoch, of the supernet and of the networks that were trained on their own.",
        rows=[_row(name, rows) for name, rows in facts.curves.items() if rows],
        columns=COLUMNS,
        is_wide=not has_scores,
        **_lines(values, facts.curves, "loss"),
    )


def scores(facts: Facts) -> Picture | None:
    """Return the picture of the scores that epochs were chosen by; None where none was."""
    values = {
        name: [None if row.score is None else 100 * row.score for row in rows]
        for name, rows in facts.curves.items()
        if any(row.score is not None for row in rows)
    }
    if not values:
        return None
    return Picture(
        name="scores",
        title="Score of each training",
        text="On the images that were set aside to choose the best epoch; the epoch with the highest score is kept.",
        rows=[(name, *_row(name, facts.curves[name])[4:6]) for name in values],
        columns=(COLUMNS[0], *COLUMNS[4:6]),
        is_wide=False,
        **_lines(values, facts.curves, "score, %"),
    )


def _lines(
    values: Mapping[str, Sequence[float | None]], curves: Mapping[str, Sequence[EpochRecord]], y: str
) -> dict[str, Any]:
    """Return what pictures of lines by epoch have in common: each training has one colour in all of them."""
    colours = {"supernet": NEUTRAL}
    colours |= dict(zip((name for name in curves if name != "supernet"), cycle(SERIES), strict=False))
    layout = axes("epoch", y)
    layout["xaxis"] |= whole_numbers(max(map(len, values.values())))
    data = [
        {
            "x": [row.epoch + 1 for row in curves[name]],
            "y": list(row),
            "type": "scatter",
            "mode": "lines" if len(row) > 3 else "lines+markers",
            "name": name,
            "line": {"color": colours[name], "width": 2},
            "hovertemplate": f"{name}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
        }
        for name, row in values.items()
    ]
    keys = tuple(Key(name=name, colour=colours[name], shape="line") for name in values)
    return {"data": data, "layout": layout, "keys": keys}


def _row(name: str, rows: Sequence[EpochRecord]) -> tuple[str, ...]:
    kept = best_epoch(rows)
    assert kept is not None
    score = "" if kept.score is None else f"{kept.score:.2%}"
    speed = np.median([row.images_per_s for row in rows])
    return (
        name,
        str(len(rows)),
        f"{rows[0].loss:.4f}",
        f"{rows[-1].loss:.4f}",
        f"{kept.epoch + 1}",
        score,
        f"{speed:.0f}",
    )
