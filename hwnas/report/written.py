"""What a report reads of a bundle's deployment.json, which says more."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_OPEN = ConfigDict(extra="allow", allow_inf_nan=False)


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
