"""The description that a bundle holds of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from hwnas.artifacts.fleet import DeviceSummary
from hwnas.artifacts.mixed import MixedPrecision
from hwnas.quantities import MEDIAN
from hwnas.records import READ_IN_PART, Count
from lut.certificate import Certificate
from onnx_models.best_int8 import Quantization
from onnx_models.box_limits import BoxLimits
from onnx_models.box_parity import BoxParity
from onnx_models.ending import Ending
from onnx_models.parity import Parity
from search_spaces import Architecture
from search_spaces.space import SpecValue


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class PairedChange:
    """The change of accuracy from one model to another on the same images, and how well those tell it.

    Attributes:
        difference: of the shares of images that the two are right about; below zero where the other is worse.
        margin: half of the 95 % confidence interval around it.
        num_lost, num_won: images that only the first, and only the other, is right about.
    """

    difference: Annotated[float, Field(ge=-1, le=1)]
    margin: Annotated[float, Field(ge=0)]
    num_lost: Count
    num_won: Count
    num_images: Count

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} points +- {100 * self.margin:.1f} on {self.num_images} images"


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Recommendation:
    """The file of a bundle to deploy, and why that one."""

    file: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class Suppression:
    """The suppression inside those models of a detector that give boxes.

    Attributes:
        limits: of which boxes they give.
        parity: of their boxes with those that torch finds, by file.
    """

    limits: BoxLimits
    parity: dict[str, BoxParity]


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class DeployedModel:
    """A file of a bundle.

    Attributes:
        input_shape: None for sizes that are free; some runtimes name those.
        output, output_shape: of the first output; it is `boxes` where they are given, beside `scores` and `classes`.
        ending: what follows the scores of the classes; None where they are what it gives.
        batch: None for any.
        normalises: whether it takes pixels as they are.
        mean, std: of each channel, for those that do not.
        measured_ms: of the percentile that the budget is held on; None where nothing can be measured, or the model has
            no fixed shape; that of its ONNX file, by the same runtime, where it is in the runtime's own format.
        p50_ms, p95_ms, p99_ms: percentiles of single runs; None where there are too few runs to tell, too.
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
    ending: Ending | None = None
    batch: int | None = None
    layout: str = "NCHW"
    normalises: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    test_metrics: Annotated[dict[str, float], Field(min_length=1)]
    measured_ms: float | None
    measured_table_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
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
        input_values: what is normalised: pixels in 0 to 1, or floats as the data have them.
        models: by the names of their files.
        parity_with_tvm: the comparison, or the error that kept it from being made; None without TVM.
        int8: how the model was quantized; None where it was not.
        int8_change: of accuracy, from `model.onnx` to `model.int8.onnx`; None where the task has no right answer for
            each image.
        mixed: the precision of each block, and how it was chosen; None where nobody asked for it.
        mixed_change: of accuracy, as `int8_change`, to `model.mixed.onnx`; None where there is none.
        recommended: the model to deploy on the device; None in bundles of earlier versions.
        percentile: of single runs, that latencies and the budget are; 50 for the median.
        measured_ms_in_run: the winner's latency when the run exported it.
        certificate: of the latency table's predictions of that percentile.
        suppression: of detectors; None of others.
        network: its name in the run; None for the winner.
        weights: hash of the file with the network for torch, by its name; none in bundles of earlier versions, and of
            networks that cannot be traced.
        fleet: the network's latencies on the further devices of a fleet when the run exported it, by their names.
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
    input_values: Literal["pixels", "floats"] = "pixels"
    models: dict[str, DeployedModel]
    weights: dict[str, str] = Field(default_factory=dict)
    parity_with_torch: Parity | None = None
    parity_with_tvm: dict[str, JsonValue] | None = None
    int8: Quantization | None = None
    int8_change: PairedChange | None = None
    mixed: MixedPrecision | None = None
    mixed_change: PairedChange | None = None
    recommended: Recommendation | None = None
    device: dict[str, object] = Field(default_factory=dict)
    percentile: int = MEDIAN
    max_latency_ms: float | None = None
    predicted_ms: float | None = None
    measured_ms_in_run: float | None = None
    certificate: Certificate | None = None
    suppression: Suppression | None = None
    fleet: dict[str, DeviceSummary] = Field(default_factory=dict)
    seed: int = 0
    git: dict[str, JsonValue] | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files: the network's name where it is not the winner's, for one."""
        absent: tuple[tuple[str, object], ...] = (
            ("network", None),
            ("suppression", None),
            ("mixed", None),
            ("mixed_change", None),
            ("input_values", "pixels"),
            ("fleet", {}),
        )
        return {name: value for name, value in asdict(self).items() if (name, value) not in absent}
