"""Exporting the winner, proving the export, and measuring it beside its references."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hwnas.artifacts import ORIGINAL, REFERENCES, WINNER, Exported, ExportedNetwork, FoundNetwork, RetrainedNetwork
from hwnas.errors import RunError
from hwnas.measured import Measured
from hwnas.run_folder import ExportFiles
from hwnas.stages.latency import Latency
from hwnas.stages.setup import Setup
from hwnas.stages.speed import references_of
from hwnas.training.task import LearningTask
from onnx_models.export import export_module
from onnx_models.image_size import height_width
from onnx_models.metadata import ModelFacts, describe
from onnx_models.parity import Parity
from onnx_models.precision import in_precision
from onnx_models.torch_parity import compare_with_onnx
from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exporter:
    """The means by which networks are exported, checked and measured.

    Attributes:
        task: with the images that models are compared on with the trained networks.
        task_name: what models say that they are for.
        batch_size: of those images.
        files: where models and samples are written.
    """

    setup: Setup
    latency: Latency
    task: LearningTask
    task_name: str
    batch_size: int
    files: ExportFiles


def export_networks(
    exporter: Exporter,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
    before: Exported | None,
) -> Exported:
    """Write the winner with static and with dynamic batch, check both, and measure it and its references.

    What misses its budget as measured is measured once more. Networks that are the same are measured once.

    Args:
        before: of the last attempt, where another winner was exported; what is not new is taken from it.

    Raises:
        ExportError: the network cannot be expressed in ONNX.
        RunError: ONNX Runtime computes something else than torch; the files are left for inspection.
    """
    exporter.files.folder.mkdir(exist_ok=True)
    known = {} if before is None else before.networks
    parity = {} if before is None else dict(before.parity)
    for name, network in retrained.items():
        if name not in known or known[name].architecture != found[name].architecture:
            parity |= _written(exporter, name, network)
    if not exporter.setup.device.is_measurable:
        return Exported(parity=parity, networks={})
    architectures = {name: found[name].architecture for name in retrained}
    measured = _measured(exporter, architectures, {n.architecture: n for n in known.values()})
    late = {
        name: architecture
        for name, architecture in architectures.items()
        if name != ORIGINAL
        and measured[architecture].first_ms is None
        and (
            measured[architecture].latency_ms > found[name].max_ms
            or found[name].missed_on(measured[architecture].fleet)
        )
    }
    if late:
        measured |= _measured_again(exporter, late, measured)
    return Exported(parity=parity, networks={name: measured[a] for name, a in architectures.items()})


def write_model(exporter: Exporter, network: RetrainedNetwork, path: Path, *, is_dynamic: bool = False) -> Parity:
    """Write a network's model, of the device's batch size or of any, and return how it compares with torch.

    Raises:
        ExportError: the network cannot be expressed in ONNX.
        RunError: ONNX Runtime computes something else than torch; the file is left for inspection.
    """
    _write(exporter, network, path, is_dynamic=is_dynamic)
    return _proof(exporter, network, path)


def _written(exporter: Exporter, name: str, network: RetrainedNetwork) -> dict[str, Parity]:
    """Write a network's models and compare those that are for use with torch."""
    files = exporter.files
    path = files.model(name)
    if name in REFERENCES:
        _write(exporter, network, path, is_dynamic=False)
        return {}
    parity = {files.label(path): write_model(exporter, network, path)}
    if name == WINNER:
        parity[files.label(files.dynamic_model)] = write_model(exporter, network, files.dynamic_model, is_dynamic=True)
    return parity


def _measured(
    exporter: Exporter, architectures: Mapping[str, Architecture], known: Mapping[Architecture, ExportedNetwork]
) -> dict[Architecture, ExportedNetwork]:
    """Return every architecture's latency; those that are known are not measured again."""
    names: dict[Architecture, str] = {}
    for name, architecture in architectures.items():
        names.setdefault(architecture, name)
    new = {a: name for a, name in names.items() if a not in known}
    found = _latencies(exporter, new.values(), exporter.files.journal) if new else {}
    elsewhere = _elsewhere(exporter, new.values(), exporter.files.journal)
    return {a: known[a] if a in known else _exported(a, name, found, elsewhere=elsewhere) for a, name in names.items()}


def _measured_again(
    exporter: Exporter, late: Mapping[str, Architecture], first: Mapping[Architecture, ExportedNetwork]
) -> dict[Architecture, ExportedNetwork]:
    exporter.setup.reporter.line(f"{', '.join(late)}: over budget as exported; measured once more")
    names = {architecture: name for name, architecture in late.items()}
    found = _latencies(exporter, names.values(), exporter.files.second_journal)
    elsewhere = _elsewhere(exporter, names.values(), exporter.files.second_journal)
    return {
        a: _exported(a, name, found, first_ms=first[a].latency_ms, elsewhere=elsewhere) for a, name in names.items()
    }


def _exported(
    architecture: Architecture,
    name: str,
    found: Mapping[str, Measured],
    *,
    first_ms: float | None = None,
    elsewhere: Mapping[str, Mapping[str, Measured]],
) -> ExportedNetwork:
    """Return a network's latencies as exported.

    Args:
        elsewhere: latencies on further devices by their names and those of networks.
    """
    in_float = found.get(_in_float(name))
    return ExportedNetwork(
        architecture=architecture,
        first_ms=first_ms,
        float_ms=None if in_float is None else in_float.latency_ms,
        fleet={device: there[name] for device, there in elsewhere.items() if name in there},
        **found[name].figures,
    )


def _in_float(name: str) -> str:
    """Return what a winner in float is called beside the same in int8."""
    return f"{name} in float"


def _latencies(exporter: Exporter, names: Iterable[str], journal: Path) -> dict[str, Measured]:
    """Return the latencies of models in the precision of the table; of winners in int8, those in float too."""
    setup, latency = exporter.setup, exporter.latency
    floats = {name: exporter.files.model(name) for name in names}
    paths = {name: in_precision(path, setup.precision, is_part=False) for name, path in floats.items()}
    if setup.precision == "int8":
        paths |= {_in_float(name): path for name, path in floats.items() if name not in REFERENCES}
    references = references_of(setup, latency.model.table, latency.near_ms, latency.speed)
    return setup.measured(paths, journal, references=references, is_final=True)


def _elsewhere(exporter: Exporter, names: Collection[str], journal: Path) -> dict[str, dict[str, Measured]]:
    """Return the latencies of models on the further devices of a fleet, by the names of those and of the models."""
    precision = exporter.setup.precision
    paths = {name: in_precision(exporter.files.model(name), precision, is_part=False) for name in names}
    if not paths:
        return {}
    return {
        member.name: member.measured(paths, journal.with_stem(f"{journal.stem}@{member.name}"), is_final=True)
        for member in exporter.latency.fleet
    }


def _write(exporter: Exporter, network: RetrainedNetwork, path: Path, *, is_dynamic: bool) -> None:
    setup, task = exporter.setup, exporter.task.at(network.input_size)
    shapes = [(setup.device.batch, setup.space.spec.in_channels, *height_width(network.input_size))]
    deployed = setup.space.deployed(network.module)
    export_module(deployed, path, input_shapes=shapes, dynamic_batch=is_dynamic, opset=setup.device.opset)
    mean, std = (tuple(values.tolist()) for values in task.dataset.channel_statistics())
    facts = ModelFacts(
        task=exporter.task_name,
        classes=task.dataset.classes,
        mean=mean,
        std=std,
        metrics=network.test_metrics,
        hwnas_version=version("hwnas"),
        is_of_pixels=task.dataset.is_of_pixels,
    )
    describe(path, facts)


def _proof(exporter: Exporter, network: RetrainedNetwork, path: Path) -> Parity:
    """Return how a model compares with torch on all test images.

    Raises:
        RunError: they compute different things.
    """
    deployed, task = exporter.setup.space.deployed(network.module), exporter.task.at(network.input_size)
    batches = task.batches(task.dataset.test, exporter.batch_size).in_order()
    parity = compare_with_onnx(deployed, path, batches, task.predictions)
    if not parity.holds:
        raise RunError(
            f"{path} does not compute what the trained network computes: outputs differ by up to "
            f"{parity.max_abs_difference:.2g}, {parity.equal_predictions:.2%} of predictions agree"
        )
    return parity
