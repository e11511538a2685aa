"""A run's summary, once it is finished."""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic reads Python's own from 3.12 on only
)

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from hwnas.errors import RunError
from hwnas.records import as_record
from hwnas.run import Run
from safe_files import FileError, read_json

SUMMARY = "summary.json"
MODEL = "export/model.onnx"
DYNAMIC_MODEL = "export/model.dynamic.onnx"


_Number = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_OPEN = ConfigDict(extra="allow", allow_inf_nan=False)


@with_config(_OPEN)
class NetworkRow(TypedDict):
    """A network's figures."""

    test_accuracy: float
    measured_ms: _Number | None
    measured_table_ms: NotRequired[float | None]
    predicted_ms: _Number
    max_latency_ms: _Number
    budget_kept: bool | None
    advice: NotRequired[str | None]
    params: _Count
    macs: _Count


@with_config(_OPEN)
class Parity(TypedDict):
    """How far the exported model is from the trained network."""

    max_abs_difference: float
    equal_predictions: float
    num_images: _Count


@with_config(_OPEN)
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
    """Where a network's model is kept in a run's folder."""
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
    try:
        summary = read_json(path)
    except FileError as error:
        raise RunError(f"{error}; {remedy}") from error
    as_record(Summary, summary, path, remedy=remedy)
    return located(run, summary)


def located(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """A summary with the paths of the models in the run's folder."""
    winners = {
        name: {**row, "onnx": str(run.folder / model_of(name))} for name, row in summary.get("winners", {}).items()
    }
    models = {"onnx": str(run.folder / MODEL), "onnx_dynamic_batch": str(run.folder / DYNAMIC_MODEL)}
    return {**summary, **models, "winners": winners}
