"""The page that tells whoever gets a bundle what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from hwnas.artifacts import Deployment
from hwnas.quantities import MEDIAN, budget_text
from onnx_models.ending import Ending

GIVEN: Mapping[Ending | None, str] = {
    None: "logits",
    "log_softmax": "logarithms of probabilities",
    "sigmoid": "a probability for each class by itself",
    "softmax": "probabilities",
}
"""What models give, by what they end in."""


def bundle_readme(deployment: Deployment) -> str:
    """Return the text of a bundle's README.md."""
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
        "$DEPLOY": _advice(deployment),
        "$GIVEN": GIVEN[deployment.models["model.onnx"].ending],
        "$CHANNELS": str(given["channels"]),
        "$HEIGHT": str(given.get("height", given.get("size"))),
        "$WIDTH": str(given.get("width", given.get("size"))),
    }
    text = (files("hwnas") / "templates" / "bundle.md.txt").read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _advice(deployment: Deployment) -> str:
    """Return which model is to be deployed, and why."""
    assert deployment.recommended is not None
    return f"Deploy `{deployment.recommended.file}`: {deployment.recommended.reason}."
