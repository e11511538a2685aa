"""The flags of the commands that begin a run, made from the fields of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.completion import names_of, one_of
from hwnas.cli.parameters import keyword, parameters_of, taking
from hwnas.cli.ranges import number_option
from hwnas.flags import argument_of, settings_by_flag
from hwnas.recipes import FINE_TUNING
from hwnas.settings import Setting
from hwnas.table_flag import FLAG as TABLES

MOST = 1_000_000_000


def with_setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with a parameter for every flag of a setting besides its own."""
    found = settings_by_flag()
    flags = [keyword(argument_of(flag), _annotation(first), default=None) for flag, (first, *_) in found.items()]

    @taking([*flags, *parameters_of(command)], command)
    def flagged(**arguments: object) -> None:
        command(**arguments)

    return flagged


def _annotation(setting: Setting) -> Any:
    """Return the type and the option of a setting's flag."""
    about, is_number = setting.about, setting.kind in (int, float)
    low, high = limits(setting) if is_number else (None, None)
    assert about.flag is not None
    option = (number_option if is_number else typer.Option)(
        about.flag,
        min=low,
        max=high,
        help=_help(setting),
        rich_help_panel=about.panel,
        autocompletion=_completion(setting),
    )
    if about.flag == TABLES:
        return Annotated[list[Path] | None, option]
    return Annotated[(str if setting.is_list else setting.kind) | None, option]


def limits(setting: Setting) -> tuple[float | None, float | None]:
    """Return the least and the largest value that the flag of a number takes; no count is more than a billion.

    Of fractions the configuration refuses the limit itself where it is not in the range.
    """
    step = 1 if setting.kind is int else 0
    bounds = setting.bounds
    low = bounds.get("ge", bounds["gt"] + step if "gt" in bounds else None)
    high = bounds.get("le", bounds["lt"] - step if "lt" in bounds else MOST if setting.kind is int else None)
    return low, high


def _help(setting: Setting) -> str:
    """Return the meaning with the default in brackets, where there is one that is not told already."""
    meaning, default, with_model = setting.about.meaning, setting.default_text, FINE_TUNING.text(setting)
    if with_model is not None:
        default = f"{default}, with --model {with_model}"
    elif default in ("", "null", "false", "[]"):
        return meaning
    first, stop, rest = meaning.partition(";")
    return f"{first.removesuffix('.')} [{default}]{stop}{rest}" + ("" if rest else ".")


def _completion(setting: Setting) -> Callable[..., list[str]] | None:
    if setting.choices:
        return one_of(setting.choices)
    return None if setting.about.names is None else names_of(setting.about.names)
