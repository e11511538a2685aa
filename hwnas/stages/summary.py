"""The summary of what a run came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hwnas.run import Run
from hwnas.stages.attempts import advice, missed_winners
from hwnas.stages.export import Exported, ExportedNetwork
from hwnas.stages.retrain import RetrainedNetwork
from hwnas.stages.search import REFERENCES, FoundNetwork
from hwnas.summary_file import MODEL, SUMMARY, located
from safe_files import write_text


def summarise(
    run: Run,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
    exported: Exported,
) -> dict[str, object]:
    """Return the winner's figures, those of its references under "references", and write them to summary.json."""
    missed = missed_winners(found, exported)
    rows: dict[str, dict[str, Any]] = {
        name: {
            **_row(run, found[name], retrained[name]),
            **_latency(exported.networks.get(name), found[name].max_ms),
            "max_latency_ms": found[name].max_ms,
            "advice": advice(run, name, found[name].max_ms, exported) if name in missed else None,
        }
        for name in retrained
    }
    mean, std = run.dataset.channel_statistics()
    summary = {
        **rows["winner"],
        "parity": exported.parity[MODEL],
        "device": run.device.name,
        "space": run.space.spec.as_dict(),
        "classes": list(run.dataset.classes),
        "mean": mean.tolist(),
        "std": std.tolist(),
        "seed": run.config.seed,
        "references": {name: rows[name] for name in REFERENCES if name in rows},
        "winners": {name: row for name, row in rows.items() if name.startswith("winner-")},
    }
    summary = located(run, summary)
    write_text(run.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def _latency(exported: ExportedNetwork | None, max_ms: float) -> dict[str, Any]:
    if exported is None:  # nothing is measured on the device of an imported table
        return {"measured_ms": None, "budget_kept": None}
    return {**exported.measured.as_dict(), "budget_kept": exported.measured.latency_ms <= max_ms}


def _row(run: Run, found: FoundNetwork, retrained: RetrainedNetwork) -> dict[str, object]:
    return {
        "architecture": list(found.architecture),
        "choices": list(run.space.describe(found.architecture)),
        "params": found.params,
        "macs": found.macs,
        "supernet_score": found.supernet_score,
        "epoch": retrained.epoch.epoch + 1,
        "validation_score": retrained.epoch.score,
        "test_accuracy": retrained.test_accuracy,
        "test_metrics": dict(retrained.test_metrics),
        "predicted_ms": found.predicted_ms,
    }
