"""What a report reads of the files that a finished run wrote; they say more."""

from __future__ import annotations

from typing import (
    Annotated,
    NotRequired,  # pydantic reads Python's own from 3.12 on only
)

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

_Number = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_OPEN = ConfigDict(extra="allow", allow_inf_nan=False)


@with_config(_OPEN)
class NetworkRow(TypedDict):
    """A network's figures."""

    test_accuracy: float
    measured_ms: _Number
    measured_table_ms: NotRequired[float | None]
    predicted_ms: _Number
    max_latency_ms: _Number
    budget_kept: bool
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


@with_config(_OPEN)
class ModelRow(TypedDict):
    """A file of the bundle."""

    test_metrics: Annotated[dict[str, float], Field(min_length=1)]
    measured_ms: float | None
    size_bytes: _Count
    purpose: str
    sha256: str


@with_config(_OPEN)
class Deployment(TypedDict):
    """deployment.json."""

    models: dict[str, ModelRow]
