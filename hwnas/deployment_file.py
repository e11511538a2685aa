"""The description that a run's last bundle holds of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

from hwnas.records import OPEN, Count, read_record

DEPLOYMENT = "export/deployment.json"
"""A copy in the run's folder of what lies in the bundle."""


@with_config(OPEN)
class ModelRow(TypedDict):
    """A file of the bundle, as far as reports tell of it."""

    test_metrics: Annotated[dict[str, float], Field(min_length=1)]
    measured_ms: float | None
    size_bytes: Count
    purpose: str
    sha256: str


@with_config(OPEN)
class Deployment(TypedDict):
    """deployment.json, as far as reports tell of it."""

    models: dict[str, ModelRow]


def read_deployment(folder: Path) -> dict[str, Any] | None:
    """Return what the last bundle of the run in a folder says of itself; None where there was none yet.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / DEPLOYMENT
    if not path.exists():
        return None
    kind: type[Any] = Deployment
    deployment: dict[str, Any] = read_record(kind, path, remedy="remove it; hwnas export -o makes it again")
    return deployment
