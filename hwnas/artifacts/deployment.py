"""The description that a bundle holds of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART, Count
from lut.certificate import Certificate
from onnx_models.best_int8 import Quantization
from onnx_models.parity import Parity
from search_spaces import Architecture
from search_spaces.space import SpecValue


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class DeployedModel:
    """A file of a bundle.

    Attributes:
        input_shape, output_shape: None for sizes that are free; some runtimes name those.
        batch: None for any.
        normalises: whether it takes pixels as they are.
        mean, std: of each channel, for those that do not.
        measured_ms: None where nothing can be measured, or the model has no fixed shape; that of its ONNX file, by the
            same runtime, where it is in the runtime's own format.
        operations: how often each is in the graph that ONNX Runtime makes of it.
        weights: hashes of files that belong to it, by name.
    """

    purpose: str
    sha256: str
    size_bytes: Count
    input: str = ""
    input_shape: tuple[int | str | None, ...] = ()
    input_type: str = ""
    output: str = ""
    output_shape: tuple[int | str | None, ...] = ()
    batch: int | None = None
    layout: str = "NCHW"
    normalises: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    test_metrics: Annotated[dict[str, float], Field(min_length=1)]
    measured_ms: float | None
    measured_table_ms: float | None = None
    operations: dict[str, int] = Field(default_factory=dict)
    weights: dict[str, str] = Field(default_factory=dict)

    @property
    def score(self) -> float:
        """The first metric."""
        return next(iter(self.test_metrics.values()))


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Deployment:
    """deployment.json: what a bundle's models are, and the proof that they are right.

    Attributes:
        input: of images: `channels`, and `size` where they are square, else `height` and `width`.
        models: by the names of their files.
        parity_with_tvm: the comparison, or the error that kept it from being made; None without TVM.
        int8: how the model was quantized; None where it was not.
        measured_ms_in_run: the winner's latency when the run exported it.
        certificate: of the latency table.
        network: its name in the run; None for the winner.
        version: called `schema_version` in the bundles of earlier versions.
    """

    version: Literal[1] = 1
    network: str | None = None
    architecture: Architecture = ()
    choices: tuple[str, ...] = ()
    space: dict[str, SpecValue] = Field(default_factory=dict)
    task: str = ""
    classes: tuple[str, ...] = ()
    input: dict[str, int] = Field(default_factory=dict)
    models: dict[str, DeployedModel]
    parity_with_torch: Parity | None = None
    parity_with_tvm: dict[str, JsonValue] | None = None
    int8: Quantization | None = None
    device: dict[str, object] = Field(default_factory=dict)
    max_latency_ms: float | None = None
    predicted_ms: float | None = None
    measured_ms_in_run: float | None = None
    certificate: Certificate | None = None
    seed: int = 0
    git: dict[str, JsonValue] | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files, the network's name where it is not the winner."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("network", None)}
