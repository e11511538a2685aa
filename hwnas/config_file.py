"""Configurations as YAML files with flags laid over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hwnas.config import RunConfig
from hwnas.errors import RequestError
from hwnas.recipes import fill_in
from hwnas.settings import explain
from safe_files import FileError, dump_yaml, read_yaml

_ADAPTER = TypeAdapter(RunConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a YAML file with flags laid over it, or of flags alone.

    Args:
        path: the file, or None.
        overrides: values by dotted name, e.g. `{"supernet.epochs": 3}`.

    Raises:
        RequestError: the file cannot be read, has an unknown key, a wrong type or a value out of range.
    """
    settings = {} if path is None else _read_yaml(path)
    for name, value in overrides.items():
        _set(settings, name.split("."), value)
    fill_in(settings)
    where = str(path) if path else "the settings given"
    if "max_latency" not in settings:
        raise RequestError(f"no latency budget in {where}; give --max-latency 20ms")
    try:
        # As JSON: there a list may be a tuple and a text a path, and yet true is no number and "1" neither.
        return _ADAPTER.validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        first = ".".join(map(str, error.errors()[0]["loc"]))
        given = any(f"{first}.".startswith(f"{name}.") for name in overrides)
        raise RequestError(f"{'the settings given' if given else where}: {explain(error, RunConfig)}") from error


def config_as_yaml(config: RunConfig) -> str:
    """Return the resolved configuration as YAML; `load_config` gives it back."""
    return dump_yaml(_ADAPTER.dump_python(config, mode="json"))


def differing_settings(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the dotted names of the settings in which two configurations differ, but for where results go."""
    flat_one, flat_other = flat_settings(one), flat_settings(other)
    return sorted(k for k in {*flat_one, *flat_other} - {"out", "tracker"} if flat_one.get(k) != flat_other.get(k))


def flat_settings(config: RunConfig) -> dict[str, object]:
    """Return the resolved settings by dotted name, as they are written in files."""
    return _flatten(_ADAPTER.dump_python(config, mode="json"))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileError as error:
        raise RequestError(str(error)) from error
    if not isinstance(content, dict):
        raise RequestError(f"{path} must be a mapping of settings, got {type(content).__name__}")
    return content


def _set(settings: dict[str, Any], names: list[str], value: object) -> None:
    for name in names[:-1]:
        inner = settings.setdefault(name, {})
        if not isinstance(inner, dict):
            return  # validation will say what is wrong with it
        settings = inner
    settings[names[-1]] = value


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            value = {str(number): part for number, part in enumerate(value)}
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
