"""Settings by the flags that they have: names of arguments for programs, and words of command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hwnas.config import RunConfig
from hwnas.errors import RequestError
from hwnas.settings import PANELS, Setting, parse_setting, settings_of
from hwnas.table_flag import FLAG as TABLES
from hwnas.table_flag import table_settings


@cache
def settings_by_flag() -> Mapping[str, Sequence[Setting]]:
    """Return the settings that have flags, by flag, in the order of the help's panels."""
    found: dict[str, list[Setting]] = {}
    for setting in settings_of(RunConfig):
        if setting.about.flag is not None:
            found.setdefault(setting.about.flag, []).append(setting)
    return dict(sorted(found.items(), key=lambda item: PANELS.index(item[1][0].about.panel or "")))


def argument_of(flag: str) -> str:
    """Return the name of the argument that a flag becomes."""
    return flag.partition("/")[0].removeprefix("--").replace("-", "_")


def overrides_of(flags: Mapping[str, Any], texts: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings that flags give, by dotted name.

    Args:
        flags: values by argument's name; None where a flag was not given. Texts of lists have commas between the items.
        texts: what was given to --set.

    Raises:
        RequestError: a setting was given twice, or tables without the budgets that they need.
    """
    found, tables = dict[str, Any](), dict[str, Any]()
    for flag, settings in settings_by_flag().items():
        value = flags.get(argument_of(flag))
        if flag == TABLES:
            tables = table_settings(value, flags) if value else {}
            continue
        if value is not None and settings[0].is_list:
            value = _items(argument_of(flag), value)
        found |= {setting.name: value for setting in settings if value is not None}
    further = dict_of(texts)
    if "fleet" in further and not tables.get("fleet"):
        tables.pop("fleet", None)  # a single --lut alone says that there are no further devices
    return with_settings(found | tables, further)


def _items(name: str, value: object) -> list[object]:
    """Return the items of a list; of a text what is between commas.

    Raises:
        RequestError: it is no list.
    """
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise RequestError(f"{name}: expected a list, or a text with commas between its items, got {value!r}")
    return list(value)


def dict_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings that texts such as `retrain.ema_decay=0.99` give, by dotted name.

    Raises:
        RequestError: a text is not of that form, or a setting was given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        found = with_settings(found, dict([parse_setting(text)]))
    return found


def with_settings(given: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name with others beside them.

    Raises:
        RequestError: a setting is in both.
    """
    for name in more:
        if name in given:
            raise RequestError(f"{name} was given twice: {given[name]!r} and {more[name]!r}; leave one out")
    return {**given, **more}
