"""What the winner says of test images: pictures of them, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from hwnas.artifacts import ShownBox, ShownImage, ShownPredictions, ShownView
from hwnas.artifacts.shown import Group, colour_of
from hwnas.report.figures import ORANGE, Picture

MOST_IN_MATRIX = 30
"""Classes up to which all pairs are drawn; of more the most confused ones."""

NUM_PAIRS = 25
"""Pairs of classes drawn, or listed, at most."""

TITLES: Mapping[Group, str] = {
    "mistake": "Most confident mistakes",
    "worst": "Test images with the lowest scores",
    "typical": "Test images with typical scores",
}
SCORES: Mapping[Group, str] = {
    "mistake": "In per cent",
    "worst": "The score of an image",
    "typical": "Those nearest to the median. The score of an image",
}
"""What is said of images by why they are shown; the measure follows."""


def confusion(predictions: ShownPredictions | None) -> list[Picture]:
    """Return the picture of which classes are taken for which; none without classes of images."""
    if predictions is None or not predictions.confusion:
        return []
    pairs = sorted((row for row in predictions.confusion if row[0] != row[1]), key=lambda row: -row[2])[:NUM_PAIRS]
    sizes = _sizes(predictions)
    names = predictions.classes
    is_small = len(names) <= MOST_IN_MATRIX
    if not (is_small or pairs):
        return []
    words = "" if is_small else f" Of {len(names)} classes the {len(pairs)} pairs that are confused most often."
    return [
        Picture(
            name="confusion",
            title="Classes taken for others",
            text="Shares of each class's test images that are taken for which class." + words,
            data=[_matrix(predictions, sizes) if is_small else _bars(pairs, names, sizes)],
            layout=_layout() if is_small else _bar_layout(),
            columns=("class", "taken for", "images", "share of the class"),
            rows=[(names[a], names[b], str(num), f"{num / sizes[a]:.1%}") for a, b, num in pairs],
        )
    ]


def _sizes(predictions: ShownPredictions) -> dict[int, int]:
    """Return how many test images of each class there are."""
    sizes: dict[int, int] = {}
    for kind, _, num in predictions.confusion:
        sizes[kind] = sizes.get(kind, 0) + num
    return sizes


def _matrix(predictions: ShownPredictions, sizes: Mapping[int, int]) -> dict[str, Any]:
    names = list(predictions.classes)
    counts = np.zeros((len(names), len(names)), np.int64)
    for kind, taken_for, num in predictions.confusion:
        counts[kind, taken_for] = num
    of_class = np.array([max(1, sizes.get(kind, 0)) for kind in range(len(names))])
    return {
        "z": np.round(100 * counts / of_class[:, None], 2).tolist(),
        "text": [[str(num) if num else "" for num in row] for row in counts.tolist()],
        "texttemplate": "%{text}" if len(names) <= MOST_IN_MATRIX // 2 else "",
        "x": names,
        "y": names,
        "type": "heatmap",
        "colorscale": "Viridis",
        "zmin": 0,
        "zmax": 100,
        "colorbar": {"title": {"text": "%"}, "thickness": 12},
        "hovertemplate": "%{y} taken for %{x}<br>%{text} images, %{z:.3g} %<extra></extra>",
    }


def _layout() -> dict[str, Any]:
    axis = {"type": "category", "automargin": True}
    taken = {**axis, "title": {"text": "taken for"}}
    return {"xaxis": taken, "yaxis": {**axis, "title": {"text": "class"}, "autorange": "reversed"}}


def _bars(pairs: list[tuple[int, int, int]], names: tuple[str, ...], sizes: Mapping[int, int]) -> dict[str, Any]:
    return {
        "x": [100 * num / sizes[kind] for kind, _, num in pairs],
        "y": [f"{names[kind]} → {names[taken_for]}" for kind, taken_for, _ in pairs],
        "text": [str(num) for _, _, num in pairs],
        "type": "bar",
        "orientation": "h",
        "marker": {"color": ORANGE},
        "hovertemplate": "%{y}<br>%{text} images, %{x:.3g} %<extra></extra>",
    }


def _bar_layout() -> dict[str, Any]:
    along = {"type": "category", "automargin": True, "autorange": "reversed", "tickfont": {"size": 10}}
    return {"xaxis": {"title": {"text": "of the class's images, %"}}, "yaxis": along}


def image_sections(predictions: ShownPredictions | None) -> str:
    """Return the sections with test images; none without any."""
    if predictions is None:
        return ""
    return "\n".join(
        _section(group, shown, predictions)
        for group in TITLES
        if (shown := [image for image in predictions.images if image.group == group])
    )


def _section(group: Group, images: list[ShownImage], predictions: ShownPredictions) -> str:
    text = f"{SCORES[group]}: {predictions.measure}. Of {predictions.num_images} test images."
    shown = "".join(_image(image, predictions.classes) for image in images)
    single = " single" if group == "mistake" else ""
    return (
        f"<section><h2>{TITLES[group]}</h2><p>{escape(text)}</p>"
        f'{_legend(images, predictions.classes)}<div class="shots{single}">{shown}</div></section>'
    )


def _legend(images: list[ShownImage], classes: tuple[str, ...]) -> str:
    """Return the colours of all classes where masks are shown; boxes have their names."""
    if not any(image.target.mask for image in images):
        return ""
    return (
        '<p class="legend">'
        + "".join(
            f'<span><i style="background:{_colour(kind)}"></i>{escape(name)}</span>'
            for kind, name in enumerate(classes)
        )
        + "</p>"
    )


def _image(image: ShownImage, classes: tuple[str, ...]) -> str:
    views = (image.target, image.prediction)
    if image.target.kind is not None and image.prediction.kind is not None:
        told, true = classes[image.prediction.kind], classes[image.target.kind]
        drawn = _drawn(image, ShownView(), classes, f"a {true} taken for a {told}")
        words = f"<b>{escape(told)}</b> {image.score:.1%}, is {escape(true)}"
    else:
        drawn = "".join(
            _drawn(image, view, classes, label) for view, label in zip(views, ("target", "prediction"), strict=True)
        )
        words = f"score {image.score:.2f}: target, prediction"
    return f'<figure class="shot"><div>{drawn}</div><figcaption>{words}</figcaption></figure>'


def _drawn(image: ShownImage, view: ShownView, classes: tuple[str, ...], label: str) -> str:
    """Return an image with what is to be seen on it."""
    size = f'width="{image.width}" height="{image.height}"'
    mask = f'<image href="data:image/png;base64,{escape(view.mask)}" {size} opacity="0.6"/>' if view.mask else ""
    picture = f'<image href="data:image/png;base64,{escape(image.png)}" {size}/>'
    return (
        f'<svg viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{escape(label)}">'
        f"{picture}{mask}{_boxes(view.boxes, image, classes)}</svg>"
    )


def _boxes(boxes: Iterable[ShownBox], image: ShownImage, classes: tuple[str, ...]) -> str:
    height = max(image.width, image.height) / 14
    drawn = []
    for box in boxes:
        x1, y1, x2, y2 = box.box
        name = classes[box.kind]
        words = escape(name if box.score is None else f"{name} {box.score:.0%}")
        drawn.append(
            f'<g stroke="{_colour(box.kind)}"><rect x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"/>'
            f'<text x="{max(0.0, x1) + 1:g}" y="{max(height, y1 - 1):g}" font-size="{height:.3g}" '
            f'stroke-width="{height / 6:.2g}">{words}</text></g>'
        )
    return "".join(drawn)


def _colour(kind: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_of(kind))
