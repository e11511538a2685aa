"""Test images with what the winner says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from hwnas.artifacts import ShownBox, ShownImage, ShownPredictions, ShownView
from hwnas.artifacts.shown import Group, colour_of

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
        f"<section><h3>{TITLES[group]}</h3><p class='soft'>{escape(text)}</p>"
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
