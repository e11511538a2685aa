"""What a model says of itself, as Netron shows it: metadata, and the shapes of the values between its operators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from safe_files import replacing


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The facts that whoever is given a model needs to use it.

    Attributes:
        classes: names, in the order of the outputs.
        mean, std: of each channel that inputs are normalised by, of pixels in 0 to 1.
        metrics: on the test images, by name; the first is the score.
        is_of_pixels: whether inputs are pixels, 0 to 255, that are normalised, rather than floats that are.
    """

    task: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    metrics: Mapping[str, float]
    hwnas_version: str
    is_of_pixels: bool = True

    def properties(self, *, takes_pixels: bool) -> dict[str, str]:
        """Return the entries of a model's metadata: text as it is, anything else as JSON.

        Args:
            takes_pixels: whether the model normalises by itself.
        """
        name, score = next(iter(self.metrics.items()))
        normalised = "(pixels / 255 - mean) / std" if self.is_of_pixels else "(values - mean) / std"
        return {
            "hwnas_version": self.hwnas_version,
            "task": self.task,
            "classes": json.dumps(list(self.classes)),
            "input_layout": "NCHW",
            "input_values": "pixels, 0 to 255" if takes_pixels else normalised,
            "mean": json.dumps([round(value, 7) for value in self.mean]),
            "std": json.dumps([round(value, 7) for value in self.std]),
            name: f"{score:.6g}",
            "metrics": json.dumps({key: round(value, 6) for key, value in self.metrics.items()}),
        }


def describe(path: Path, facts: ModelFacts) -> None:
    """Write into a model what it is, and the shapes of the values between its operators; what it computes stays.

    Entries of the same names are replaced. Shapes that depend on values stay open.

    Raises:
        WriteError: there is no room for it, or nothing may be written there.
    """
    model = onnx.load(path)
    takes_pixels = model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    entries = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**entries, **facts.properties(takes_pixels=takes_pixels)})
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)
    with replacing(path) as draft:
        draft.write_bytes(model.SerializeToString())


def properties_of(path: Path) -> dict[str, str]:
    """Return the metadata of a model, by name."""
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
