"""The page that tells whoever gets a bundle what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from hwnas.artifacts import Deployment
from hwnas.export.contents import Kind
from hwnas.quantities import BUDGET_KEPT, MEDIAN, budget_text
from onnx_models.ending import Ending

GIVEN: Mapping[Ending | None, str] = {
    None: "logits",
    "log_softmax": "logarithms of probabilities",
    "sigmoid": "a probability for each class by itself",
    "softmax": "probabilities",
}
"""What models give, by what they end in."""


COMMANDS = """```sh
python3 -m pip install numpy onnxruntime pillow
python3 predict.py image.jpg
```

"""

PROGRAM: Mapping[Kind, str] = {
    "classification": "It prints the most probable class of each image, `--top 3` of them, as `model.onnx` tells it.\n"
    "`--model NAME` runs another model of the table.",
    "detection": "It prints the boxes on each image, and writes the image with them: `image.boxes.png`.",
    "segmentation": "It prints the classes' shares of each image, and writes it in their colours: `image.overlay.png`.",
}
"""What `predict.py` does."""

OF_PIXELS: Mapping[Kind, str] = {
    "classification": "and gives probabilities",
    "detection": "and gives boxes",
    "segmentation": "and gives the same",
}
"""What `model.pixels.onnx` gives."""


TORCH = """
In torch, `hwnas.load_network` gives the network of this folder with its weights, which are in `model.safetensors`.
"""


def bundle_readme(deployment: Deployment, kind: Kind | None) -> str:
    """Return the text of a bundle's README.md.

    Args:
        kind: what the network tells; None where no program comes with it.
    """
    rows = [
        f"| `{name}` | {model.input_type.removeprefix('tensor(').rstrip(')')} "
        f"{'x'.join(map(str, model.input_shape))} | {model.score:.2%} | "
        f"{'not measured' if model.measured_ms is None else format(model.measured_ms, '.4g') + ' ms'} | "
        f"{model.purpose} |"
        for name, model in deployment.models.items()
    ]
    space, device, given = deployment.space, deployment.device, deployment.input
    of = "" if deployment.network is None else f" ({deployment.network})"
    words = {
        "$TITLE": f"{space['name']} for {device['name']}{of}",
        "$ROWS": "\n".join(rows),
        "$DEVICE": f"{device['name']} ({device['runtime']}, {device['threads']} threads)",
        "$BUDGET": budget_text(deployment.max_latency_ms, " ms"),
        "$STATISTIC": "medians" if deployment.percentile == MEDIAN else f"p{deployment.percentile}",
        "$FLEET": _devices(deployment),
        "$DEPLOY": _advice(deployment),
        "$METRIC": next(iter(deployment.models["model.onnx"].test_metrics)).replace("_", " "),
        "$RUN": "" if kind is None else f"{COMMANDS}{PROGRAM[kind]}\n",
        "$GIVEN": _given(deployment, kind),
        "$VALUES": "pixels in 0 to 1" if deployment.input_values == "pixels" else "values as the data have them",
        "$TORCH": TORCH if deployment.weights else "",
        "$CHANNELS": str(given["channels"]),
        "$HEIGHT": str(given.get("height", given.get("size"))),
        "$WIDTH": str(given.get("width", given.get("size"))),
    }
    text = (files("hwnas") / "templates" / "bundle.md.txt").read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _given(deployment: Deployment, kind: Kind | None) -> str:
    """Return what models give, in sentences."""
    raw = GIVEN[deployment.models["model.onnx"].ending]
    if kind == "detection":
        assert deployment.suppression is not None
        limits = deployment.suppression.limits
        raw = (
            "for each point the distances to the left, top, right and bottom of its box in strides of its level, then\n"
            "the logit of each class. `model.boxes.onnx` takes the same and gives `boxes` (x1 y1 x2 y2 in pixels), "
            "`scores` and\n`classes`, the highest scores first: of scores above "
            f"{limits.min_score:g}, overlaps (IoU) up to {limits.max_iou:g} and {limits.max_boxes} boxes at most"
        )
    elif kind == "segmentation":
        raw = "the logits of the classes of each pixel"
    pixels = "" if kind is None else f"\n`model.pixels.onnx` takes the pixels as they are (uint8) {OF_PIXELS[kind]}."
    letterboxed = (
        "\nImages of another ratio of height and width are made as large as fits, with grey around them, as "
        "`predict.py` does it."
    )
    return f"{raw}.{pixels}{'' if kind in (None, 'classification') else letterboxed}"


def _devices(deployment: Deployment) -> str:
    """Return a table of what the network takes on the further devices that it is for; nothing where there are none."""
    if not deployment.fleet:
        return ""
    rows = [
        f"| {name} | {budget_text(row.max_latency_ms, ' ms')} | {row.predicted_ms:.4g} ms | "
        f"{'not measured' if row.measured_ms is None else format(row.measured_ms, '.4g') + ' ms'} | "
        f"{BUDGET_KEPT[row.budget_kept]} |"
        for name, row in deployment.fleet.items()
    ]
    head = "| device | budget | predicted | measured | kept |\n| --- | --- | --- | --- | --- |"
    words = "The same network is for these devices too. Figures are those of the run, in the precision of its tables."
    return "\n".join([words, "", head, *rows]) + "\n\n"


def _advice(deployment: Deployment) -> str:
    """Return which model is to be deployed, and why."""
    assert deployment.recommended is not None
    return f"Deploy `{deployment.recommended.file}`: {deployment.recommended.reason}."
