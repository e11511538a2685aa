"""Folders of runs that nobody ran: whole in a moment, with the records that real ones leave."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from samples import synthetic_table

from hwnas.artifacts import FoundNetwork, NetworkSummary, SearchOutcome, Summary
from hwnas.config_file import config_as_yaml, load_config
from hwnas.pipeline.inputs import Fingerprint, Inputs, write_inputs
from hwnas.run_folder import RunFolder
from hwnas.search import Evaluation
from hwnas.stage_files import write_json
from lut import LatencyTable, save_table
from onnx_models.parity import Parity
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SPACE = make_space(SPEC)

WINNER, FASTER, RANDOM = (0, 1, 2, 0, 1, 2, 0, 1), (0, 0, 0, 0, 0, 2, 0, 1), (1, 1, 2, 2, 1, 2, 0, 1)

FRONT = tuple(
    Evaluation(architecture=(0, 0, 0, 0, 0, 0, 0, i), score=0.5 + 0.1 * i, costs={"latency_ms": 1.0 + i})
    for i in range(3)
)


def network(architecture: tuple[int, ...] = WINNER, **changes: Any) -> NetworkSummary:
    """The figures of a network that keeps its budget of 4 ms."""
    fields = {
        "architecture": architecture,
        "choices": SPACE.describe(architecture),
        **{"params": 1234, "macs": 5678, "supernet_score": 0.6, "predicted_ms": 3.1, "measured_ms": 3.0},
        **{"test_accuracy": 0.9, "test_metrics": {"accuracy": 0.9}, "budget_kept": True, "max_latency_ms": 4.0},
    }
    return NetworkSummary(**{**fields, **changes})


def summary_of(winner: NetworkSummary, **changes: Any) -> Summary:
    """The summary of a run with that winner, one for a lower budget, which misses it, and a random reference."""
    fields = {name: getattr(winner, name) for name in NetworkSummary.__slots__}
    tight = network(FASTER, measured_ms=2.2, max_latency_ms=2.0, budget_kept=False, test_accuracy=0.8)
    own = {
        "parity": Parity(max_abs_difference=1e-6, max_abs_output=1.0, equal_predictions=1.0, num_images=9),
        **{"device": "cpu", "space": SPEC.as_dict()},
        "winners": {"winner-2ms": tight},
        "references": {"random": network(RANDOM, measured_ms=3.5, test_accuracy=0.7)},
    }
    return Summary(**{**fields, **own, **changes})


@cache
def _table() -> LatencyTable:
    return synthetic_table(SPACE)


def begin_run(folder: Path, **settings: object) -> RunFolder:
    """A run that has begun: its settings, its table, and what it was begun with.

    Args:
        settings: by name, with two underscores for a dot.
    """
    folder.mkdir(parents=True)
    files = RunFolder(folder)
    given = {"max_latency": "4ms", **{name.replace("__", "."): value for name, value in settings.items()}}
    config = load_config(None, {**given, "out": str(folder)})
    files.config.write_text(config_as_yaml(replace(config, out=folder)))
    data = Fingerprint(num_images={"train": 9}, labels_sha256="", brightness={"train": 1.0})
    write_inputs(Inputs(space=SPEC.as_dict(), device=config.device or "cpu", files={}, data=data), files.inputs)
    save_table(_table(), files.table)
    return files


def finish_run(folder: Path, summary: Summary | None = None, **settings: object) -> RunFolder:
    """A finished run, with a page in the place of its report and bytes in that of its models.

    Args:
        settings: as of `begin_run`.
    """
    files = begin_run(folder, **settings)
    found = FoundNetwork(architecture=WINNER, params=1, macs=1, supernet_score=0.6, predicted_ms=3.1, max_ms=4.0)
    outcome = SearchOutcome(networks={"winner": found}, front=FRONT, num_evaluations=3)
    write_json(files.search.outcome, outcome.as_dict())
    lines = [json.dumps({**evaluation.as_dict(), "seconds": 0.1}) for evaluation in FRONT]
    files.search.history("winner").write_text("\n".join(lines) + "\n")
    files.export.folder.mkdir()
    for path in (files.export.model("winner"), files.export.dynamic_model, files.export.model("winner-2ms")):
        path.write_bytes(b"model " + path.name.encode())
    files.write_summary(summary_of(network()) if summary is None else summary)
    files.report.write_text("<!doctype html><title>report</title><p>the report")
    return files
