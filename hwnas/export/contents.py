"""What a bundle holds, by what its networks tell of images."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

from hwnas.agents import TrainingAgent
from hwnas.dataflow import Dataset
from hwnas.dataflow.targets import BORDER

Kind = Literal["classification", "detection", "segmentation"]
"""What networks tell: the class of an image, boxes on it, or the class of each of its pixels."""

PURPOSES = {
    "model.onnx": "the network as it was trained",
    "model.dynamic.onnx": "any batch size",
    "model.boxes.onnx": "gives boxes, suppression inside",
    "model.pixels.onnx": "takes pixels as they are, gives probabilities",
    "model.image.onnx": "takes an image of any size, gives probabilities",
    "model.int8.onnx": "static int8",
    "model.int8.boxes.onnx": "static int8, gives boxes",
    "model.mixed.onnx": "some blocks in static int8, the others in float",
    "model.mixed.boxes.onnx": "some blocks in static int8, gives boxes",
    "model.fp16.onnx": "half precision inside, for processors that compute in it",
}
"""The models that a bundle may have, in order."""

OTHER_PURPOSES: Mapping[Kind, Mapping[str, str]] = {
    "classification": {},
    "detection": {"model.pixels.onnx": "takes pixels as they are, gives boxes"},
    "segmentation": {"model.pixels.onnx": "takes pixels as they are"},
}
"""What models of another kind are for where it is not the same."""


def kind_of(task: type[TrainingAgent], task_name: str) -> Kind | None:
    """Return what networks of a task tell; None where a bundle has nothing that runs them on images.

    Embeddings and whatever tasks of one's own learn have the same head as classes.
    """
    if task.head != "classifier":
        return task.head
    return "classification" if task_name == "classification" else None


def purpose_of(name: str, kind: Kind | None) -> str:
    """Return what a model is for."""
    return PURPOSES[name] if kind is None else OTHER_PURPOSES[kind].get(name, PURPOSES[name])


def image_facts(dataset: Dataset) -> dict[str, int]:
    """Return what images are like: of squares the size, of others height and width."""
    size = dataset.input_size
    sides = {"size": size} if isinstance(size, int) else dict(zip(("height", "width"), size, strict=True))
    return {"channels": dataset.in_channels, **sides}


def predict_program(kind: Kind) -> str:
    """Return the program that runs models of a kind on images."""
    program, shared = _template(f"predict.{kind}"), _template("predict.shared")
    return program.replace("$SHARED\n", shared + "\n").replace("$BORDER", str(BORDER))


def _template(name: str) -> str:
    return (files("hwnas") / "templates" / f"{name}.py.txt").read_text(encoding="utf-8")
