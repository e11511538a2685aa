"""A run's summary, once it is finished."""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic reads Python's own from 3.12 on only
)

from pydantic import Field, with_config
from typing_extensions import TypedDict

from hwnas.records import OPEN, Count, as_record, read_record
from hwnas.run import Run

SUMMARY = "summary.json"
MODEL = "export/model.onnx"
DYNAMIC_MODEL = "export/model.dynamic.onnx"

_Number = Annotated[float, Field(ge=0)]


@with_config(OPEN)
class NetworkRow(TypedDict):
    """A network's figures."""

    test_accuracy: float
    measured_ms: _Number | None
    measured_table_ms: NotRequired[float | None]
    predicted_ms: _Number
    max_latency_ms: _Number
    budget_kept: bool | None
    advice: NotRequired[str | None]
    params: Count
    macs: Count


@with_config(OPEN)
class Parity(TypedDict):
    """The differences between the exported model and the trained network."""

    max_abs_difference: float
    equal_predictions: float
    num_images: Count


@with_config(OPEN)
class Summary(NetworkRow):
    """summary.json."""

    architecture: list[int]
    choices: list[str]
    supernet_score: float
    test_metrics: dict[str, float]
    device: str
    parity: Parity
    winners: dict[str, NetworkRow]
    references: dict[str, NetworkRow]


def model_of(name: str) -> str:
    """Return where a network's model is kept in a run's folder."""
    return MODEL if name == "winner" else f"export/{name}.onnx"


def read_summary(run: Run) -> dict[str, Any] | None:
    """Return the summary, with the models where the folder is now; None where there is none yet.

    Raises:
        RunError: the file is damaged.
    """
    path = run.folder / SUMMARY
    if not path.exists():
        return None
    remedy = "remove it; hwnas search --resume makes it again"
    summary = read_record(dict[str, Any], path, remedy=remedy)
    as_record(Summary, summary, path, remedy=remedy)
    return located(run, summary)


def located(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary with the paths of the models in the run's folder."""
    winners = {
        name: {**row, "onnx": str(run.folder / model_of(name))} for name, row in summary.get("winners", {}).items()
    }
    models = {"onnx": str(run.folder / MODEL), "onnx_dynamic_batch": str(run.folder / DYNAMIC_MODEL)}
    return {**summary, **models, "winners": winners}
