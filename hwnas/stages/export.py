"""Exporting the winner, proving the export, and measuring it beside its references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.dataflow import Batches
from hwnas.errors import RunError
from hwnas.profiling import Measured, MeasuredFields, measure_networks
from hwnas.records import as_record
from hwnas.run import Run
from hwnas.stages.latency import Latency
from hwnas.stages.retrain import RetrainedNetwork
from hwnas.stages.search import REFERENCES, FoundNetwork
from hwnas.stages.speed import references_of
from hwnas.stages.table import ROUNDS
from hwnas.summary_file import DYNAMIC_MODEL, model_of
from onnx_models.export import export_module
from onnx_models.precision import in_precision
from onnx_models.torch_parity import compare_with_onnx
from search_spaces import Architecture

JOURNAL, SECOND_JOURNAL = "export/measure.journal", "export/measure-again.journal"

RESULT = "export/result.json"


class ExportedFields(MeasuredFields):
    """A network's latency as exported, as it is written to the run's folder."""

    architecture: list[int]
    first_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedNetwork:
    """A network's latency as exported.

    Attributes:
        first_ms: the measurement that contradicted the budget, where there was one; `measured` repeats it.
    """

    architecture: Architecture
    measured: Measured
    first_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as they are written to the run's folder."""
        return {"architecture": list(self.architecture), "first_ms": self.first_ms, **self.measured.as_dict()}

    @classmethod
    def from_dict(cls, record: ExportedFields) -> ExportedNetwork:
        """Return the network whose fields were written."""
        return cls(
            architecture=tuple(record["architecture"]),
            measured=Measured.from_dict(record),
            first_ms=record["first_ms"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """The outcome of exporting.

    Attributes:
        parity: comparisons with torch, by file.
        networks: by name; none where nothing can be measured.
    """

    parity: Mapping[str, Mapping[str, Any]]
    networks: Mapping[str, ExportedNetwork]


def export_networks(
    run: Run,
    latency: Latency,
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
        RunError: the folder holds a result that is damaged or of another version.
    """
    return exported_from(
        run.stored(RESULT, lambda: _export(run, latency, found, retrained, before)), run.folder / RESULT
    )


def exported_from(content: Mapping[str, Any], path: Path) -> Exported:
    """Return the result that was written to a file.

    Raises:
        RunError: it is something else.
    """
    parity = as_record(dict[str, dict[str, Any]], content.get("parity"), path, remedy="remove it to export again")
    written: dict[str, ExportedFields] = as_record(
        dict[str, ExportedFields], content.get("networks"), path, remedy="remove it to export again"
    )
    return Exported(parity=parity, networks={n: ExportedNetwork.from_dict(f) for n, f in written.items()})


def _export(
    run: Run,
    latency: Latency,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
    before: Exported | None,
) -> dict[str, Any]:
    (run.folder / "export").mkdir(exist_ok=True)
    known = {} if before is None else before.networks
    parity = {} if before is None else dict(before.parity)
    for name, network in retrained.items():
        if name not in known or known[name].architecture != found[name].architecture:
            parity |= _written(run, name, network)
    if not run.device.is_measurable:
        return {"parity": parity, "networks": {}}
    architectures = {name: found[name].architecture for name in retrained}
    measured = _measured(run, latency, architectures, {n.architecture: n for n in known.values()})
    late = {
        name: architecture
        for name, architecture in architectures.items()
        if measured[architecture].first_ms is None and measured[architecture].measured.latency_ms > found[name].max_ms
    }
    if late:
        measured |= _measured_again(run, latency, late, measured)
    networks = {name: measured[architecture].as_dict() for name, architecture in architectures.items()}
    return {"parity": parity, "networks": networks}


def _written(run: Run, name: str, network: RetrainedNetwork) -> dict[str, Any]:
    """Write a network's models and compare those that are for use with torch."""
    path = run.folder / model_of(name)
    _write(run, network, path, is_dynamic=False)
    if name in REFERENCES:
        return {}
    parity = {model_of(name): proof(run, network, path)}
    if name == "winner":
        _write(run, network, run.folder / DYNAMIC_MODEL, is_dynamic=True)
        parity[DYNAMIC_MODEL] = proof(run, network, run.folder / DYNAMIC_MODEL)
    return parity


def _measured(
    run: Run,
    latency: Latency,
    architectures: Mapping[str, Architecture],
    known: Mapping[Architecture, ExportedNetwork],
) -> dict[Architecture, ExportedNetwork]:
    """Return every architecture's latency; those that are known are not measured again."""
    names: dict[Architecture, str] = {}
    for name, architecture in architectures.items():
        names.setdefault(architecture, name)
    new = {a: name for a, name in names.items() if a not in known}
    found = _latencies(run, latency, new.values(), JOURNAL) if new else {}
    return {
        a: known[a] if a in known else ExportedNetwork(architecture=a, measured=found[name])
        for a, name in names.items()
    }


def _measured_again(
    run: Run,
    latency: Latency,
    late: Mapping[str, Architecture],
    first: Mapping[Architecture, ExportedNetwork],
) -> dict[Architecture, ExportedNetwork]:
    run.reporter.line(f"{', '.join(late)}: over budget as exported; measured once more")
    names = {architecture: name for name, architecture in late.items()}
    found = _latencies(run, latency, names.values(), SECOND_JOURNAL)
    return {
        a: ExportedNetwork(architecture=a, measured=found[name], first_ms=first[a].measured.latency_ms)
        for a, name in names.items()
    }


def _latencies(run: Run, latency: Latency, names: Iterable[str], journal: str) -> dict[str, Measured]:
    paths = {name: in_precision(run.folder / model_of(name), run.config.precision, is_part=False) for name in names}
    return measure_networks(
        paths,
        run.device,
        run.folder / journal,
        rounds=ROUNDS,
        seed=run.config.seed,
        reporter=run.reporter,
        references=references_of(run, latency.model.table, latency.max_ms, latency.speed),
    )


def _write(run: Run, network: RetrainedNetwork, path: Path, *, is_dynamic: bool) -> None:
    spec = run.space.spec
    shape = (run.device.batch, spec.in_channels, spec.input_size, spec.input_size)
    export_module(network.module, path, input_shape=shape, dynamic_batch=is_dynamic, opset=run.device.opset)


def proof(run: Run, network: RetrainedNetwork, path: Path) -> dict[str, Any]:
    """Compare a model with torch on all test images.

    Raises:
        RunError: they compute different things.
    """
    images = Batches.of(run.dataset, run.dataset.test, run.config.retrain.batch_size)
    parity = compare_with_onnx(network.module, path, images.in_order())
    if not parity.holds:
        raise RunError(
            f"{path} does not compute what the trained network computes: outputs differ by up to "
            f"{parity.max_abs_difference:.2g}, {parity.equal_predictions:.2%} of predictions agree"
        )
    return asdict(parity)
