"""Settings that name files, and what becomes of them where files move."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.config import TABULAR, RunConfig
from search_spaces.registry import NETWORK_SUFFIX

COMPONENT_SETTINGS = (
    "space.name",
    "space.model",
    "data.name",
    "task",
    "supernet.strategy",
    "supernet.criterion",
    "retrain.criterion",
    "search.agent",
    "search.evaluator",
    "tracker",
)
"""Settings that may name a file: of code, of a space, of a benchmark."""

WHOLE_FILES = (".yaml", ".yml", ".onnx", ".pt2", NETWORK_SUFFIX)
"""Ends of references that are files as they stand: spaces, and networks that somebody brings."""

PATH_SETTINGS = ("data.root", "lut", "devices", "space.weights")
"""Settings that are paths."""


def fleet_tables(config: RunConfig) -> dict[str, Path]:
    """Return the tables of the further devices of a fleet, by the dotted names of the settings that name them."""
    return {_fleet_table(number): device.lut for number, device in enumerate(config.fleet)}


def _fleet_table(number: int) -> str:
    return f"fleet.{number}.lut"


def is_fleet_table(name: str) -> bool:
    """Return whether a setting is the table of a further device of a fleet."""
    return re.fullmatch(r"fleet\.\d+\.lut", name) is not None


def file_named(config: RunConfig, name: str) -> Path | None:
    """Return the file that a setting names, if it names one."""
    if name not in (*COMPONENT_SETTINGS, *PATH_SETTINGS) and not is_fleet_table(name):
        return None
    value = setting_of(config, name)
    return file_of(value) if isinstance(value, str) else value


def file_of(reference: str) -> Path | None:
    """Return the file that a setting names; None where it names a built-in or a module."""
    _, path, _ = _parts(reference)
    return None if path is None else Path(path)


def _parts(reference: str) -> tuple[str, str | None, str]:
    """Return what stands before a file's name, the name, and what stands behind it."""
    if reference.endswith(WHOLE_FILES):
        return "", reference, ""
    if reference.startswith(TABULAR):
        return TABULAR, reference.removeprefix(TABULAR), ""
    where, colon, name = reference.rpartition(":")
    return ("", where, colon + name) if where.endswith(".py") else (reference, None, "")


def setting_of(config: RunConfig, name: str) -> Any:
    """Return the value of a setting by its dotted name; None of one in a record that is not there."""
    value: Any = config
    for part in name.split("."):
        if isinstance(value, tuple):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = getattr(value, part, None)
    return value


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the settings with absolute paths, so that they mean the same in every folder."""
    changes: dict[str, object] = {}
    for name in PATH_SETTINGS:
        if (path := setting_of(config, name)) is not None:
            changes[name] = path.absolute()
    for name in COMPONENT_SETTINGS:
        reference = setting_of(config, name)
        before, path, behind = _parts(reference or "")
        if path is not None:
            changes[name] = f"{before}{Path(path).absolute()}{behind}"
    changes["fleet"] = tuple(replace(device, lut=device.lut.absolute()) for device in config.fleet)
    changed = _replaced(config, changes)
    assert isinstance(changed, RunConfig)
    return changed


def may_have_moved(begun: RunConfig, now: RunConfig, name: str) -> bool:
    """Return whether two values of a setting can be one thing in two places; what is there tells whether they are."""
    one, other = setting_of(begun, name), setting_of(now, name)
    if name in PATH_SETTINGS or is_fleet_table(name):
        return one is not None and other is not None
    if name not in COMPONENT_SETTINGS or one is None or other is None:
        return False
    (before, path, behind), (other_before, other_path, other_behind) = _parts(one), _parts(other)
    return None not in (path, other_path) and (before, behind) == (other_before, other_behind)


def _replaced(record: Any, changes: Mapping[str, object], prefix: str = "") -> Any:
    """Return a record of records with other values under dotted names."""
    found: dict[str, object] = {}
    for field in fields(record):
        name, value = f"{prefix}{field.name}", getattr(record, field.name)
        if name in changes:
            found[field.name] = changes[name]
        elif is_dataclass(value):
            found[field.name] = _replaced(value, changes, f"{name}.")
    return replace(record, **found) if found else record
