"""Models to a table of their kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lut.dissected import fused_graph
from lut.kernel_model import certified
from lut.kernel_table import KernelTable, ProfiledModel, RanKernel
from onnx_models.errors import ModelError
from onnx_models.kernels import Kernel, kernels_of
from profilers import Model, Profiler
from profilers.dissection import Dissection, dissect, graphs_of
from profilers.errors import MeasurementError


def measure_kernels(models: Sequence[Model], profiler: Profiler) -> KernelTable:
    """Take models apart on the profiler's device; those that cannot be are failures in the table.

    Args:
        models: of fixed shapes, by the names that the table gives them.

    Raises:
        MeasurementError: no model can be taken apart, or the device is not there.
    """
    result = dissect(profiler, models)
    failures = dict(result.failures)
    numbers: dict[str, int] = {}
    kernels: list[Kernel] = []
    profiled = []
    for model in models:
        if model.key not in result.found:
            continue
        try:
            own = _kernels(result.found[model.key])
        except ModelError as error:
            failures[model.key] = str(error)
            continue
        for kernel in own:
            if kernel.key not in numbers:
                numbers[kernel.key] = len(kernels)
                kernels.append(kernel)
        profiled.append(_profiled(model, result.found[model.key], [numbers[k.key] for k in own]))
    if not profiled:
        name, why = next(iter(failures.items()))
        raise MeasurementError(f"not one of {len(models)} models could be taken apart; {name}: {why}")
    table = KernelTable(
        device=profiler.device.settings(),
        worker=dict(result.worker),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        visits=len(profiled[0].plain.wall_ns),
        seed=profiler.seed,
        is_emulated=profiler.device.emulated,
        kernels=tuple(kernels),
        models=tuple(profiled),
        failures=failures,
    )
    return certified(table)


def kernels_on(path: Path, table: KernelTable, profiler: Profiler, *, name: str) -> list[Kernel]:
    """Return the kernels that the runtime on the profiler's device makes of a model, for a table of that device.

    Raises:
        TableError: the table is of another device, runtime, version or number of threads.
        MeasurementError: the device cannot take the model apart.
        ModelError: the sizes of a tensor depend on what goes in.
    """
    result = graphs_of(profiler, [Model(key=str(path), path=path)])
    table.require_device(profiler.device, result.worker, name=name)
    if str(path) not in result.found:
        raise MeasurementError(f"cannot take {path} apart on {profiler.device.name}: {result.failures[str(path)]}")
    return _kernels(result.found[str(path)])


def _kernels(dissection: Dissection) -> list[Kernel]:
    graph = fused_graph(dissection)
    if graph is None:
        providers: Mapping[str, None] = dict.fromkeys(node.provider for node in dissection.nodes)
        raise ModelError(f"{', '.join(providers)} does not tell the graph that it runs, so that it has no kernels")
    return kernels_of(graph)


def _profiled(model: Model, dissection: Dissection, numbers: Sequence[int]) -> ProfiledModel:
    return ProfiledModel(
        name=model.key,
        sha256=model.sha256,
        nodes=tuple(RanKernel(kernel=n, us=node.us) for n, node in zip(numbers, dissection.nodes, strict=True)),
        plain=dissection.plain,
        profiled=dissection.profiled,
    )
