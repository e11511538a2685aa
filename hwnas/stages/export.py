"""Exporting the winner, proving the export, and measuring it beside its references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwnas.dataflow import Batches
from hwnas.errors import RunError
from hwnas.export import compare_with_onnx
from hwnas.profiling import measure_networks
from hwnas.run import Run
from hwnas.stages.retrain import RetrainedNetwork
from hwnas.stages.table import ROUNDS
from search_spaces.onnx_export import OPSET, export_module

MODEL = "export/model.onnx"
DYNAMIC_MODEL = "export/model.dynamic.onnx"


def export_networks(run: Run, retrained: Mapping[str, RetrainedNetwork]) -> dict[str, Any]:
    """Write the winner with static and with dynamic batch, check both, and measure it and its references.

    Raises:
        ExportError: the network cannot be expressed in ONNX.
        RunError: ONNX Runtime computes something else than torch; the files are left for inspection.
    """
    return run.stored("export/result.json", lambda: _export(run, retrained))


def _export(run: Run, retrained: Mapping[str, RetrainedNetwork]) -> dict[str, Any]:
    folder = run.folder / "export"
    folder.mkdir(exist_ok=True)
    paths = {"winner": run.folder / MODEL} | {n: folder / f"{n}.onnx" for n in retrained if n != "winner"}
    for name, path in paths.items():
        _write(run, retrained[name], path, is_dynamic=False)
    dynamic = run.folder / DYNAMIC_MODEL
    _write(run, retrained["winner"], dynamic, is_dynamic=True)
    winner = retrained["winner"]
    parity = {
        MODEL: proof(run, winner, run.folder / MODEL),
        DYNAMIC_MODEL: proof(run, winner, dynamic),
    } | {
        f"export/{name}.onnx": proof(run, retrained[name], path)
        for name, path in paths.items()
        if name.startswith("winner-")
    }
    journal = folder / "measure.journal"
    measured = measure_networks(paths, run.device, journal, rounds=ROUNDS, seed=run.config.seed, reporter=run.reporter)
    return {"parity": parity, "measured_ms": measured}


def _write(run: Run, network: RetrainedNetwork, path: Path, *, is_dynamic: bool) -> None:
    spec = run.space.spec
    shape = (run.device.batch, spec.in_channels, spec.input_size, spec.input_size)
    export_module(network.module, path, input_shape=shape, dynamic_batch=is_dynamic, opset=run.device.opset or OPSET)


def proof(run: Run, network: RetrainedNetwork, path: Path) -> dict[str, Any]:
    """The comparison with torch on all test images.

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
