"""What a run was begun with besides its settings: kept or recognised, so that its folder can be moved."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hwnas.config import TABULAR, RunConfig
from hwnas.dataflow import Dataset
from hwnas.errors import RequestError
from safe_files import FileError, read_text, replacing, sha256_of
from search_spaces import SpaceSpec
from search_spaces.yaml_space import is_yaml_space

INPUTS = "inputs.json"

REFERENCES = (
    "space.name",
    "data.name",
    "task",
    "supernet.strategy",
    "supernet.criterion",
    "retrain.criterion",
    "search.agent",
    "search.evaluator",
)
"""Settings that may name a file: of code, of a space, of a benchmark."""

PATHS = ("data.root", "lut", "devices")
"""Settings that are one."""

NUM_LOOKED_AT = 1000
"""Images of each part that are looked at to recognise data."""

SAME_BRIGHTNESS = 1.0
"""Of 255: other versions of Pillow decode and resize images a little differently."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class DataMark:
    """What data are recognised by.

    Attributes:
        num_images: by part.
        labels_sha256: of the classes' names and of every image's class.
        brightness: mean of some images, by part.
    """

    num_images: dict[str, int]
    labels_sha256: str
    brightness: dict[str, float]

    def is_same(self, other: DataMark) -> bool:
        """Whether the data are the same as far as this tells."""
        return (
            self.num_images == other.num_images
            and self.labels_sha256 == other.labels_sha256
            and all(abs(self.brightness[part] - other.brightness[part]) <= SAME_BRIGHTNESS for part in self.num_images)
        )

    def __str__(self) -> str:
        return ", ".join(f"{num:,} images to {part}" for part, num in self.num_images.items())


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Inputs:
    """What a run was begun with.

    Attributes:
        space: the fields of its spec, under the name that its latency table has it.
        device: the name of the device.
        files: SHA-256 of the files that settings name, by setting: tables, devices, code, spaces, benchmarks.
        data: what its data are recognised by.
    """

    space: dict[str, str | int | float]
    device: str
    files: dict[str, str]
    data: DataMark

    @property
    def spec(self) -> SpaceSpec:
        """The search space's."""
        return SpaceSpec(**self.space)  # type: ignore[arg-type]

    def require_same_table(self, path: Path, *, run: Path) -> None:
        """Make sure that the file of a table that was given is that of the table that the run was begun with.

        Raises:
            RequestError: it is another's.
        """
        if path.is_file() and sha256_of(path) != self.files.get("lut"):
            raise RequestError(
                f"{path} is not the table that {run} was begun with: restore a copy of the one in there, "
                "or give that table with --lut"
            )

    def require_same_data(self, dataset: Dataset, *, where: Path, run: Path) -> None:
        """Make sure that data are those that the run was begun with.

        Raises:
            RequestError: they are others.
        """
        found = mark_of(dataset)
        if not self.data.is_same(found):
            but = "" if str(found) != str(self.data) else ", but others"
            raise RequestError(
                f"the data in {where} are not those that {run} was begun with: expected {self.data}, found "
                f"{found}{but}; give those with --data-root, or begin another run"
            )


_ADAPTER = TypeAdapter(Inputs)


def read_inputs(folder: Path) -> Inputs | None:
    """Return what a run was begun with; None where an earlier version began it, which did not write that down.

    Raises:
        RequestError: the file is damaged.
    """
    path = folder / INPUTS
    if not path.exists():
        return None
    try:
        return _ADAPTER.validate_json(read_text(path), strict=True)
    except FileError as error:
        raise RequestError(f"{error}; restore a copy of {path}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestError(f"{path} is damaged: {where}: {first['msg']}; restore a copy of it") from error


def inputs_as_json(inputs: Inputs) -> str:
    """The text of the file."""
    return json.dumps(asdict(inputs), indent=1) + "\n"


def mark_of(dataset: Dataset) -> DataMark:
    """What these data are recognised by, wherever they lie and whatever version decodes them."""
    parts = {"train": dataset.train, "validate": dataset.validation, "test": dataset.test}
    digest = hashlib.sha256(json.dumps(dataset.classes).encode())
    num_images, brightness = {}, {}
    for name, split in parts.items():
        if split is not None:
            digest.update(split.targets_N.numpy().tobytes())
            num_images[name] = len(split)
            chosen = split.subset(np.linspace(0, len(split) - 1, min(len(split), NUM_LOOKED_AT)).astype(np.int64))
            total = sum(float(images.double().sum()) for images, _ in chosen.parts(100))
            brightness[name] = total / (len(chosen) * chosen.images_NCHW[0].numel())
    return DataMark(num_images=num_images, labels_sha256=digest.hexdigest(), brightness=brightness)


def file_hashes(config: RunConfig) -> dict[str, str]:
    """SHA-256 of the files that settings name, by setting; of those that are there."""
    named = {name: file_named(config, name) for name in (*REFERENCES, "lut", "devices")}
    return {name: sha256_of(path) for name, path in named.items() if path is not None and path.is_file()}


def file_named(config: RunConfig, name: str) -> Path | None:
    """The file that a setting names, if it names one."""
    if name not in (*REFERENCES, *PATHS):
        return None
    value = setting(config, name)
    return file_of(value) if isinstance(value, str) else value


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with replacing(target, needed_bytes=source.stat().st_size) as draft:
        shutil.copyfile(source, draft)


def file_of(reference: str) -> Path | None:
    """The file that a setting names; None where it names a built-in or a module."""
    _, path, _ = _parts(reference)
    return None if path is None else Path(path)


def _parts(reference: str) -> tuple[str, str | None, str]:
    """What stands before the name of a file, the name, and what stands behind it."""
    if is_yaml_space(reference):
        return "", reference, ""
    if reference.startswith(TABULAR):
        return TABULAR, reference.removeprefix(TABULAR), ""
    where, colon, name = reference.rpartition(":")
    return ("", where, colon + name) if where.endswith(".py") else (reference, None, "")


def setting(config: RunConfig, name: str) -> Any:
    """The value of a setting by its dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same settings, wherever they are read."""
    changes: dict[str, object] = {}
    for name in PATHS:
        if (path := setting(config, name)) is not None:
            changes[name] = path.absolute()
    for name in REFERENCES:
        reference = setting(config, name)
        before, path, behind = _parts(reference or "")
        if path is not None:
            changes[name] = f"{before}{Path(path).absolute()}{behind}"
    changed = _replaced(config, changes)
    assert isinstance(changed, RunConfig)
    return changed


def may_have_moved(begun: RunConfig, now: RunConfig, name: str) -> bool:
    """Whether two values of a setting can be the same thing in another place; what is there tells whether they are."""
    one, other = setting(begun, name), setting(now, name)
    if name in PATHS:
        return one is not None and other is not None
    if name not in REFERENCES or one is None or other is None:
        return False
    (before, path, behind), (other_before, other_path, other_behind) = _parts(one), _parts(other)
    return None not in (path, other_path) and (before, behind) == (other_before, other_behind)


def _replaced(record: Any, changes: Mapping[str, object], prefix: str = "") -> Any:
    """A record of records with other values under dotted names."""
    found: dict[str, object] = {}
    for field in fields(record):
        name, value = f"{prefix}{field.name}", getattr(record, field.name)
        if name in changes:
            found[field.name] = changes[name]
        elif is_dataclass(value):
            found[field.name] = _replaced(value, changes, f"{name}.")
    return replace(record, **found) if found else record
