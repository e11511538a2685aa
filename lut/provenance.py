"""The origin of a table's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from onnx_models.precision import Precision
from profilers.device import DeviceSettings

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, validate_by_name=True)
"""Pydantic settings of every record of a table: no field that is not known, no number that is NaN or infinite."""

DAY_MS = 86_400_000.0
"""Nothing that a table tells of takes a day."""

Milliseconds = Annotated[float, Field(gt=-DAY_MS, lt=DAY_MS)]
Latency = Annotated[float, Field(gt=0, lt=DAY_MS)]
Factor = Annotated[float, Field(ge=-1e6, le=1e6)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

IMPORTED, ADAPTED = "imported", "adapted"
"""Values of `stopped_by` in tables that others published, and in those made from another table."""

TOLD: Mapping[str, Mapping[str, type]] = {
    IMPORTED: {"source": str},
    ADAPTED: {"adapted_from": str, "adapted_scale": float},
}
"""Names and types of the facts that tables that were not measured tell of their origin, by `stopped_by`."""


def _require_moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"expected a date with its time zone, such as 2026-01-31T12:00:00+00:00, got {text!r}")
    return text


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Provenance:
    """The origin of the numbers; tables that differ in any of these never mix.

    Attributes:
        device: the settings of the device that measurements depend on.
        worker: what the worker said: runtime version, CPU model, governor, cores.
        precision: of weights and activations.
        date: UTC, ISO 8601.
        rounds: interleaved rounds measured.
        stopped_by: what ended the measuring: "settled", "rounds" or "minutes"; "imported" or "adapted" otherwise.
        throttled_rounds: rounds that were repeated, since the device was throttled during them.
        num_groups: groups that models were split into to fit in memory.
        seed: of the order of visits and of the networks.
        onnx_sha256: hash of each block's ONNX file, by key.
        fallbacks: how often each operation of each block was left to the CPU by the device's accelerator, by block and
            operation.
        is_emulated: timed under an emulator, so that no number is a latency of the device.
    """

    device: DeviceSettings
    worker: Mapping[str, Any]
    precision: Precision
    date: Annotated[str, AfterValidator(_require_moment)]
    rounds: Count
    stopped_by: Annotated[str, Field(pattern=r"^(settled|rounds|minutes|imported|adapted)$")] = "rounds"
    num_groups: Count = 1
    throttled_rounds: Count = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    onnx_sha256: Mapping[str, Sha256]
    fallbacks: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)
    is_emulated: bool = False

    @model_validator(mode="after")
    def _cores_match_threads(self) -> Provenance:
        cores, threads = self.device["cores"], self.device["threads"]
        if cores is not None and len(set(cores)) != threads:
            raise ValueError(f"expected {threads} distinct cores, one per thread, found {cores}")
        return self

    @model_validator(mode="after")
    def _origin_is_told(self) -> Provenance:
        for name, kind in TOLD.get(self.stopped_by, {}).items():
            if not isinstance(self.worker.get(name), kind):
                raise ValueError(f"expected {name} in the worker's facts of what was {self.stopped_by}")
        return self
