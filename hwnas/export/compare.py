"""Any ONNX models side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hwnas.dataflow import Dataset
from hwnas.errors import RequestError
from hwnas.export.accuracy import NoAccuracyError, accuracy
from hwnas.export.dense_accuracy import box_precision, mask_overlap
from hwnas.measured import Measured
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from onnx_models.binding import BoundModel, Sizes, bind
from onnx_models.external_data import size_bytes
from onnx_models.image_size import ImageSize, height_width
from onnx_models.memory import graph_memory
from profilers import Profiler
from profilers.device import require_cores
from profilers.worker_onnxruntime import DTYPES
from search_spaces import ExportError, SpaceError

SCORES = {"classes": ("accuracy", accuracy), "boxes": ("mAP", box_precision), "masks": ("mean IoU", mask_overlap)}
"""What tells how well models do by the kind of the data's targets, and what that is called."""

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The questions about the models besides latency, size and memory.

    Attributes:
        dataset: what accuracy is told on; None for no accuracy.
        output: the output that tells the class, of models with several.
        input_size: what free dimensions of inputs are bound to; None for the data's.
        at_size: gives the data at another size, that of a model; None where all are to be of one.
        normalisation: mean and deviation of each channel that models were trained with, by their files; of others the
            data's.

    Raises:
        RequestError: an output without data.
    """

    dataset: Dataset | None = None
    output: str | None = None
    input_size: ImageSize | None = None
    at_size: Callable[[ImageSize], Dataset] | None = None
    normalisation: Mapping[Path, Normalisation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.output is not None and self.dataset is None:
            raise RequestError("--output names what accuracy is told by: give --data too")

    @property
    def sizes(self) -> Sizes:
        """For what models leave free."""
        size, channels = self.input_size, None
        if self.dataset is not None:
            size, channels = size or self.dataset.input_size, self.dataset.in_channels
        if size is None:
            return Sizes(side=None, channels=channels)
        height, width = height_width(size)
        return Sizes(side=height, width=width, channels=channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedModel:
    """A model's figures; one that cannot be had is None.

    Attributes:
        model: its file, as it was given.
        input: element types and sizes in words.
        bound: what free dimensions were given, by their names.
        accuracy: None without test data, too; of detectors mean average precision, of segmenters mean IoU.
        latency_ms: the median, without what disturbed all models alike.
        p95_ms, p99_ms: of single runs; None where there are too few.
        missing: why figures cannot be had, by name.
    """

    model: str
    input: str
    bound: Mapping[str, int]
    size_bytes: int
    peak_memory_bytes: int | None
    latency_ms: float
    p95_ms: float | None
    p99_ms: float | None
    accuracy: float | None
    missing: Mapping[str, str]

    def as_dict(self, *, with_accuracy: bool) -> dict[str, object]:
        """Return the fields as they are printed, the accuracy where it was asked for."""
        return {name: value for name, value in asdict(self).items() if with_accuracy or name != "accuracy"}


def compare_models(
    paths: Sequence[Path], profiler: Profiler, question: Question, *, reporter: Reporter
) -> list[ComparedModel]:
    """Return size, memory, latency measured interleaved on the device, and accuracy where test data are given.

    Raises:
        RequestError: a file is no model that can be measured, or is there twice.
        RunError: the device cannot run one of them.
    """
    require_cores(profiler.device)
    if twice := [path for path in paths if list(paths).count(path) > 1]:
        raise RequestError(f"{twice[0]} was given twice; leave one of the two out")
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / str(number) for number in range(len(paths))]
        for folder in folders:
            folder.mkdir()
        models = [bind(path, folder, question.sizes, types=DTYPES) for path, folder in zip(paths, folders, strict=True)]
        _require_output(models, question.output)
        latencies = measure_networks(
            {str(model.path): model.fixed for model in models},
            profiler.device,
            Path(scratch) / "journal",
            rounds=profiler.rounds,
            seed=profiler.seed,
            reporter=reporter,
        )
        return [_row(model, latencies[str(model.path)], question) for model in models]


def _require_output(models: Sequence[BoundModel], output: str | None) -> None:
    if output is not None and not any(output in model.outputs for model in models):
        known = "; ".join(f"{model.path}: {', '.join(model.outputs)}" for model in models)
        raise RequestError(f"no model has an output {output!r}; there are: {known}")


def _row(model: BoundModel, measured: Measured, question: Question) -> ComparedModel:
    missing: dict[str, str] = {}
    return ComparedModel(
        model=str(model.path),
        input=model.inputs,
        bound=dict(model.sizes),
        size_bytes=size_bytes(model.path),
        peak_memory_bytes=_memory(model.fixed, missing),
        latency_ms=measured.latency_ms,
        p95_ms=measured.p95_ms,
        p99_ms=measured.p99_ms,
        accuracy=None if question.dataset is None else _accuracy(model, question, question.dataset, missing),
        missing=missing,
    )


def _memory(path: Path, missing: dict[str, str]) -> int | None:
    """Weights and activations at their peak."""
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False), data_prop=True)
        if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
            missing["peak_memory_bytes"] = "what is stored as int8 and computed as float depends on the runtime"
            return None
        _require_sizes(model)
        memory = graph_memory(model)
    except (DecodeError, SpaceError, ExportError, KeyError, ValueError, AttributeError, IndexError) as error:
        missing["peak_memory_bytes"] = f"the graph does not tell it: {error}"
        return None
    return int(memory.weight_bytes + memory.activation_bytes)


def _require_sizes(model: onnx.ModelProto) -> None:
    for value in (*model.graph.value_info, *model.graph.output):
        if not all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim):
            raise ValueError(f"how large {value.name!r} is depends on what goes in")


def _accuracy(model: BoundModel, question: Question, dataset: Dataset, missing: dict[str, str]) -> float | None:
    at_size, normalisation = question.at_size, question.normalisation.get(model.path)

    def normalised(data: Dataset) -> Dataset:
        return data if normalisation is None else replace(data, normalisation=normalisation)

    sized = None if at_size is None else lambda size: normalised(at_size(size))
    # A model with one output is scored by it, whatever those of the others are called.
    output = None if len(model.outputs) == 1 else question.output
    try:
        _, score = SCORES[dataset.target_kind]
        return score(model.fixed, output, normalised(dataset), sized)
    except NoAccuracyError as error:
        missing["accuracy"] = str(error)
        return None
