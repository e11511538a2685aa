"""How well the winner tells each class, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.artifacts import ShownPredictions
from hwnas.report.figures import CARD, FRONT, MISSED, MISSED_CARD, MISSED_FILL, RIGHT_FILL, Picture
from hwnas.report.markup import Column, Html, table

MOST_IN_MATRIX = 30
"""Classes up to which all are shown; of more the most confused ones."""

NUM_PAIRS = 25
"""Pairs of classes drawn, or listed, at most."""


MOST_MISTAKEN = 30.0
"""Per cent of a class taken for another from which on the colour is the strongest."""


def class_accuracies(predictions: ShownPredictions | None) -> Html | None:
    """Return a table of the share of each class's test images that are told right; None without classes of images."""
    if predictions is None or not predictions.confusion:
        return None
    sizes, names = _sizes(predictions), predictions.classes
    right = {kind: num for kind, taken_for, num in predictions.confusion if kind == taken_for}
    kinds = sorted(sizes, key=lambda kind: (right.get(kind, 0) / sizes[kind], kind))[:MOST_IN_MATRIX]
    words = "" if len(kinds) == len(names) else f" The {len(kinds)} of {len(names)} classes with the lowest."
    rows = [
        (
            names[kind],
            _bar(right.get(kind, 0) / sizes[kind]),
            f"{right.get(kind, 0) / sizes[kind]:.1%}",
            str(sizes[kind]),
        )
        for kind in kinds
    ]
    columns = (
        Column(name="class", is_text=True),
        Column(name="", is_text=True),
        Column(name="right", meaning="Share of the class's test images that the winner tells right."),
        Column(name="test images", meaning="How many there are: of few, the share is uncertain."),
    )
    shown = table("Accuracy of each class", columns, rows)
    return Html(
        '<section class="picture half"><h3>Accuracy of each class</h3><p class="soft">Share of its test images that '
        f"the winner tells right (blue; the rest orange), the lowest first.{words}</p>{shown}</section>"
    )


def _bar(share: float) -> Html:
    return Html(f'<span class="bar rest" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>')


def confusion(predictions: ShownPredictions | None) -> Picture | None:
    """Return the picture of which classes are taken for which; None without classes of images."""
    if predictions is None or not predictions.confusion:
        return None
    pairs = sorted((row for row in predictions.confusion if row[0] != row[1]), key=lambda row: -row[2])[:NUM_PAIRS]
    sizes = _sizes(predictions)
    names = predictions.classes
    is_small = len(names) <= MOST_IN_MATRIX
    if not (is_small or pairs):
        return None
    words = "" if is_small else f" Of {len(names)} classes the {len(pairs)} pairs that are confused most often."
    return Picture(
        name="confusion",
        title="Classes taken for others",
        text="Test images of each class (row) by the class that the winner takes them for (column). "
        "The diagonal, blue, is right; whatever is off it, orange, is a mistake. "
        "A stronger colour is a larger share of the class."
        if is_small
        else "Shares of each class's test images that are taken for which class." + words,
        data=_matrix(predictions, sizes) if is_small else [_bars(pairs, names, sizes)],
        layout=_layout() if is_small else _bar_layout(),
        columns=(
            Column(name="class", is_text=True),
            Column(name="taken for", is_text=True),
            Column(name="images"),
            Column(name="share of the class"),
        ),
        rows=[(names[a], names[b], str(num), f"{num / sizes[a]:.1%}") for a, b, num in pairs],
        is_wide=False,
    )


def _sizes(predictions: ShownPredictions) -> dict[int, int]:
    """Return how many test images of each class there are."""
    sizes: dict[int, int] = {}
    for kind, _, num in predictions.confusion:
        sizes[kind] = sizes.get(kind, 0) + num
    return sizes


def _matrix(predictions: ShownPredictions, sizes: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return what is right and what is mistaken as two layers, so that few mistakes among many images are seen."""
    names = list(predictions.classes)
    counts = np.zeros((len(names), len(names)), np.int64)
    for kind, taken_for, num in predictions.confusion:
        counts[kind, taken_for] = num
    of_class = np.array([max(1, sizes.get(kind, 0)) for kind in range(len(names))])
    shares = np.round(100 * counts / of_class[:, None], 2)
    is_right = np.eye(len(names), dtype=bool)
    right, mistaken = np.where(is_right, shares, np.nan), np.where(is_right | (counts == 0), np.nan, shares)
    return [
        _layer(names, counts, right, colours=(CARD, RIGHT_FILL), most=100),
        _layer(names, counts, mistaken, colours=(MISSED_CARD, MISSED_FILL), most=MOST_MISTAKEN),
    ]


def _layer(
    names: list[str],
    counts: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    *,
    colours: tuple[str, str],
    most: float,
) -> dict[str, Any]:
    """Return the cells whose shares are numbers, in per cent, coloured up to `most`."""
    return {
        "z": [[None if np.isnan(share) else share for share in row] for row in shares.tolist()],
        "text": [[str(num) if num else "" for num in row] for row in counts.tolist()],
        "texttemplate": "%{text}" if len(names) <= MOST_IN_MATRIX // 2 else "",
        "textfont": {"color": FRONT},
        "x": names,
        "y": names,
        "type": "heatmap",
        "colorscale": [[0, colours[0]], [1, colours[1]]],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "zmin": 0,
        "zmax": most,
        "hovertemplate": "%{y} taken for %{x}<br>%{text} images, %{z:.3g} %<extra></extra>",
    }


def _layout() -> dict[str, Any]:
    axis = {"type": "category", "automargin": True, "showgrid": False}
    taken = {**axis, "title": {"text": "taken for"}}
    return {"xaxis": taken, "yaxis": {**axis, "title": {"text": "class"}, "autorange": "reversed"}}


def _bars(pairs: list[tuple[int, int, int]], names: tuple[str, ...], sizes: Mapping[int, int]) -> dict[str, Any]:
    return {
        "x": [100 * num / sizes[kind] for kind, _, num in pairs],
        "y": [f"{names[kind]} → {names[taken_for]}" for kind, taken_for, _ in pairs],
        "text": [str(num) for _, _, num in pairs],
        "type": "bar",
        "orientation": "h",
        "marker": {"color": MISSED},
        "hovertemplate": "%{y}<br>%{text} images, %{x:.3g} %<extra></extra>",
    }


def _bar_layout() -> dict[str, Any]:
    along = {"type": "category", "automargin": True, "autorange": "reversed", "tickfont": {"size": 10}}
    return {"xaxis": {"title": {"text": "of the class's images, %"}}, "yaxis": along}
