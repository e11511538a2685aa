"""Models in any ONNX file: compared, explained, predicted."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

from hwnas.api.settings import File
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
    found = find_device(device, None if devices is None else Path(devices))
    return adjusted(found, threads=threads, runtime=runtime)


def compare(
    models: Sequence[File],
    device: Device | str = "cpu",
    *,
    data: Dataset | None = None,
    input_size: ImageSize | None = None,
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
        rounds: 100 tell p95, 300 p99.

    Raises:
        RequestError: a model is not there or cannot be measured alike.
        RunError: one cannot be measured.
    """
    if isinstance(models, str | PathLike) or not models:
        raise RequestError(f"expected a list of models to compare, got {models!r}")
    chosen = device_of(device) if isinstance(device, str) else device
    require_trusted_runtime(chosen)
    require_cores(chosen)
    reporter, references = Reporter(is_quiet=quiet), [Path(model) for model in models]
    paths = models_named(references, reporter)
    question = Question(
        dataset=data,
        output=None,
        input_size=input_size,
        at_size=None,
        normalisation=normalisations(references),
    )
    return compare_models(paths, Profiler(device=chosen, rounds=rounds, seed=seed), question, reporter=reporter)


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
    chosen = device_of(device) if isinstance(device, str) else device
    require_measurable(chosen)
    with TemporaryDirectory() as scratch, shown(Reporter(is_quiet=quiet), "explain", rounds) as on_progress:
        (fixed,) = fixed_models([model_named(Path(model))], Path(scratch), input_size)
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
    table = load_kernels(Path(kernels))
    device = device_of(table.device["name"], devices=devices, threads=table.device["threads"])
    with TemporaryDirectory() as scratch:
        (fixed,) = fixed_models([model_named(Path(model))], Path(scratch), input_size)
        found = kernels_on(fixed.path, table, Profiler(device=device), name=str(kernels))
    return KernelModel(table).predict(found)
