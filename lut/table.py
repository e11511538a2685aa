"""The latency table and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lut.errors import TableError
from profilers import Device, Measurement
from profilers.durable import write_text
from profilers.estimate import estimate_ms, split_half_error
from search_spaces import SpaceError, SpaceSpec

FORMAT = "hwnas-latency-table"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class Provenance:
    """Where the numbers come from; tables that differ in any of these never mix.

    Attributes:
        device: the settings of the device that measurements depend on.
        worker: what the worker said: runtime version, CPU model, governor, cores.
        precision: of weights and activations.
        date: UTC, ISO 8601.
        rounds: interleaved rounds measured.
        onnx_sha256: hash of each block's ONNX file, by key.
        is_emulated: timed under an emulator, so that no number is a latency of the device.
    """

    device: Mapping[str, Any]
    worker: Mapping[str, Any]
    precision: str
    date: str
    rounds: int
    onnx_sha256: Mapping[str, str]
    is_emulated: bool = False


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatencyTable:
    """Measurements of every distinct block of a search space on one device.

    Attributes:
        space: the search space and its numbers.
        provenance: device, runtime, versions, protocol.
        entries: raw samples or the failure of every block; identities cost nothing and have no entry.
    """

    space: SpaceSpec
    provenance: Provenance
    entries: tuple[Measurement, ...]

    @cached_property
    def by_key(self) -> dict[str, Measurement]:
        """The entries by block key."""
        return {m.key: m for m in self.entries}

    @cached_property
    def latency_ms(self) -> dict[str, float]:
        """Estimated milliseconds per block key, failed blocks left out; derived from the samples once."""
        return estimate_ms(self.entries)

    @cached_property
    def repeatability(self) -> float:
        """Mean relative difference between estimates from odd and from even rounds."""
        return split_half_error(self.entries)

    @property
    def failures(self) -> tuple[Measurement, ...]:
        """The entries that have an error instead of samples."""
        return tuple(m for m in self.entries if m.error is not None)

    def require_origin(self, space: SpaceSpec, device: Device, *, name: str = "the table") -> None:
        """Raise TableError unless the table was measured for that space on that device with those settings."""
        if self.space != space:
            raise TableError(f"{name} is for {self.space}, not for {space}; give another output or --fresh")
        wanted, found = device.settings(), dict(self.provenance.device)
        differing = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        if differing:
            raise TableError(
                f"{name} was measured on {found.get('name')} with other settings ({', '.join(differing)}); "
                "give another output or --fresh"
            )

    @property
    def batch(self) -> int:
        """Images per forward pass."""
        return int(self.provenance.device["batch"])


_ADAPTER = TypeAdapter(LatencyTable)


def save_table(table: LatencyTable, path: Path) -> None:
    """Write the table, whole or not at all.

    Raises:
        TableError: the folder cannot be written to.
    """
    content = json.dumps(_ADAPTER.dump_python(table, mode="json"), separators=(",", ":"), sort_keys=True)
    text = f'{{"format":"{FORMAT}","version":{VERSION},"sha256":"{_digest(content)}",\n"table":{content}}}\n'
    try:
        write_text(path, text)
    except OSError as error:
        raise TableError(f"cannot write {path}: {error.strerror}") from error


def load_table(path: Path) -> LatencyTable:
    """The table in a file.

    Raises:
        TableError: the file is missing, cut, changed since it was written, or not a table of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"cannot read the latency table {path}: {error.strerror}") from error
    except ValueError as error:  # malformed JSON and undecodable text alike
        raise TableError(f"{path} is damaged or no latency table ({error}); profile again or restore a copy") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(f'{path} is no latency table: expected "format": "{FORMAT}"')
    if document.get("version") != VERSION:
        raise TableError(f"{path} has schema version {document.get('version')!r}, this release reads {VERSION}")
    content = document.get("table")
    if _digest(json.dumps(content, separators=(",", ":"), sort_keys=True)) != document.get("sha256"):
        raise TableError(f"{path} was changed after it was written (checksum); profile again or restore a copy")
    try:
        return _ADAPTER.validate_python(content)
    except (ValidationError, SpaceError) as error:
        raise TableError(f"{path} does not follow the table schema: {error}") from error


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
