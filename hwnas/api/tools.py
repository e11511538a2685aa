"""Models in any ONNX file: compared, explained, predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas.api import checks
from hwnas.api.checks import File
from hwnas.dataflow import Dataset
from hwnas.errors import RequestError
from hwnas.export.compare import ComparedModel, Question, compare_models
from hwnas.pipeline.named import model_named, models_named, normalisations
from hwnas.profiling import fixed_models, shown
from hwnas.progress import Reporter
from lut.explain import Explanation, explain_model
from lut.kernel_build import kernels_on
from lut.kernel_file import load_kernels
from lut.kernel_model import KernelModel, Prediction
from onnx_models.image_size import ImageSize
from profilers import Device, Profiler
from profilers.device import adjusted, find_device, require_cores, require_measurable, require_trusted_runtime


def device_of(
    device: str, *, devices: File | None = None, threads: int | None = None, runtime: str | None = None
) -> Device:
    """Return a device with settings of its own.

    Args:
        devices: a devices file.
        runtime: another one than the device's, such as openvino.

    Raises:
        DeviceError: there is none of that name, or such settings cannot be.
    """
    path = None if devices is None else checks.file("devices", devices)
    found = find_device(checks.text("device", device, "cpu"), path)
    return adjusted(found, threads=checks.plain(threads), runtime=runtime)  # type: ignore[arg-type]


def compare(
    models: Sequence[File],
    device: Device | str = "cpu",
    *,
    data: Dataset | None = None,
    input_size: ImageSize | None = None,
    output: str | None = None,
    rounds: int = 100,
    seed: int = 0,
    quiet: bool = False,
) -> list[ComparedModel]:
    """Measure ONNX models interleaved, and tell latency, accuracy, size and memory of each.

    Args:
        models: files; a run's folder for its winner, FOLDER:NAME for another network of it.
        device: its name; for another runtime or number of threads `hwnas.api.tools.device_of`.
        data: whose test images accuracy is told on.
        input_size: of models that take any.
        output: what tells the class, of models with several outputs.
        rounds: 100 tell p95, 300 p99.

    Raises:
        RequestError: a model is not there or cannot be measured alike.
        RunError: one cannot be measured.
    """
    references = [checks.file("models", each) for each in checks.listed("models", models, "models to compare")]
    if not references:
        raise RequestError(f"models: expected a list of models to compare, got {models!r}")
    if not isinstance(data, Dataset | None):
        raise RequestError(f"data: expected a hwnas.Dataset, got {data!r}; hwnas.dataflow.load_dataset reads one")
    if output is not None and data is None:
        raise RequestError(f"output={output!r} names what tells the class: give data= too")
    chosen, size = _device(device), _size(input_size)
    profiler = Profiler(device=chosen, rounds=checks.whole("rounds", rounds), seed=checks.whole("seed", seed))
    require_trusted_runtime(chosen)
    require_cores(chosen)
    reporter = Reporter(is_quiet=quiet)
    paths = models_named(references, reporter)
    question = Question(
        dataset=data,
        output=None if output is None else checks.text("output", output, "logits"),
        input_size=size,
        at_size=None,
        normalisation=normalisations(references),
    )
    return compare_models(paths, profiler, question, reporter=reporter)


def explain(
    model: File,
    device: Device | str = "cpu",
    *,
    input_size: ImageSize | None = None,
    rounds: int = 40,
    seed: int = 0,
    quiet: bool = False,
) -> Explanation:
    """Tell where the time of an ONNX model goes: its fused operators, which sum to the whole run.

    Args:
        model: a file; a run's folder for its winner, FOLDER:NAME for another network of it.
        rounds: visits with the runtime's profiler and without, each.

    Raises:
        RequestError: there is no such model, or the device's runtime has no profiler.
        RunError: it cannot be measured.
    """
    path, size, chosen = checks.file("model", model), _size(input_size), _device(device)
    seed, rounds = checks.whole("seed", seed), checks.whole("rounds", rounds)
    require_measurable(chosen)
    with TemporaryDirectory() as scratch, shown(Reporter(is_quiet=quiet), "explain", rounds) as on_progress:
        (fixed,) = fixed_models([model_named(path)], Path(scratch), size)
        profiler = Profiler(device=chosen, rounds=rounds, seed=seed, on_progress=on_progress)
        return explain_model(fixed.path, profiler, Path(scratch))


def predict(
    model: File, kernels: File, *, devices: File | None = None, input_size: ImageSize | None = None
) -> Prediction:
    """Predict the latency of an ONNX model from a table of kernels; the model is not timed.

    Args:
        kernels: a table of `hwnas profile --kernels`.

    Raises:
        RequestError: there is no such model.
        TableError: the file is no table of kernels.
    """
    path, table_path, size = checks.file("model", model), checks.file("kernels", kernels), _size(input_size)
    table = load_kernels(table_path)
    device = device_of(table.device["name"], devices=devices, threads=table.device["threads"])
    with TemporaryDirectory() as scratch:
        (fixed,) = fixed_models([model_named(path)], Path(scratch), size)
        found = kernels_on(fixed.path, table, Profiler(device=device), name=str(kernels))
    return KernelModel(table).predict(found)


def _device(device: object) -> Device:
    """Return a device that is given, or that of a name."""
    return device if isinstance(device, Device) else device_of(checks.text("device", device, "cpu"))


def _size(input_size: object) -> ImageSize | None:
    return None if input_size is None else checks.size("input_size", input_size)
