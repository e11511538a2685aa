"""A run's summary, once it is finished."""

from __future__ import annotations

import json
from typing import Any

from hwnas.run import Run

SUMMARY = "summary.json"
MODEL = "export/model.onnx"
DYNAMIC_MODEL = "export/model.dynamic.onnx"


def model_of(name: str) -> str:
    """Where a network's model is kept in a run's folder."""
    return MODEL if name == "winner" else f"export/{name}.onnx"


def read_summary(run: Run) -> dict[str, Any] | None:
    """Return the summary, with the models where the folder is now; None where there is none yet."""
    try:
        content = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return located(run, content) if isinstance(content, dict) else None


def located(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """A summary with the paths of the models in the run's folder."""
    winners = {
        name: {**row, "onnx": str(run.folder / model_of(name))} for name, row in summary.get("winners", {}).items()
    }
    models = {"onnx": str(run.folder / MODEL), "onnx_dynamic_batch": str(run.folder / DYNAMIC_MODEL)}
    return {**summary, **models, "winners": winners}
