"""The settings of a configuration one by one: what each may be, what it means, and the flag that it has."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import KW_ONLY, MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hwnas.errors import RequestError
from safe_files import FileError, parse_yaml

PANELS = ("What", "Budget", "Data", "Training", "Search", "Output")
"""The groups of flags in the help of the commands that begin a run, in this order."""

BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True, slots=True)
class About:
    """The meaning and the flag of a field of the configuration, which stand beside its type and range.

    Attributes:
        meaning: a sentence; in brackets, what holds where the setting is null.
        flag: how the flag is written, where there is one. Settings that say the same flag are set by it together.
        panel: one of `PANELS`, where there is a flag.
        names: the kind of component, or "device", whose names the setting takes.
    """

    meaning: str
    _: KW_ONLY
    flag: str | None = None
    panel: str | None = None
    names: str | None = None

    def __post_init__(self) -> None:
        if (self.flag is None) != (self.panel is None) or self.panel not in (None, *PANELS):
            raise ValueError(f"a flag needs one of the panels {', '.join(PANELS)}, got {self.panel} for {self.flag}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: dotted, as `--set` takes it.
        kind: the type that its values have; str for those of a fixed set, unless others of another type are as well.
        is_list: whether it takes several such values.
        may_be_null: whether null is a value.
        choices: all values, where they are a fixed set.
        bounds: what limits a number, by "ge", "gt", "le" or "lt".
        default: the value where none is given; `MISSING` where one must be.
        example: a value that shows what it is like, where there is one; else the default.
    """

    name: str
    kind: type
    is_list: bool
    may_be_null: bool
    choices: tuple[str, ...]
    bounds: dict[str, float]
    default: object
    example: object
    about: About

    @property
    def takes(self) -> str:
        """The type and the range in words."""
        if self.choices and self.kind is bool:
            words = f"true, false or {' or '.join(self.choices)}"
        elif self.choices:
            words = (", " if self.is_list else " or ").join(self.choices)
        elif is_dataclass(self.kind):
            words = ", ".join(f.name for f in fields(self.kind))
        else:
            names = {int: "integer", float: "number", str: "text", bool: "true or false", dict: "values by name"}
            limits = " and ".join(f"{BOUNDS[name]} {value}" for name, value in self.bounds.items())
            words = f"{names.get(self.kind, self.kind.__name__.lower())} {limits}".strip()
        return ("list of " if self.is_list else "") + words + (", or null" if self.may_be_null else "")

    @property
    def default_text(self) -> str:
        """The default as it is written in a file; empty where the setting must be given."""
        if self.default is MISSING or isinstance(self.default, str):
            return "" if self.default is MISSING else str(self.default)
        return json.dumps(self.default, default=str).strip('"')


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the dotted name and the value of a setting such as `retrain.ema_decay=0.99`, written as in YAML.

    Raises:
        RequestError: it is not of that form.
    """
    name, equals, value = text.partition("=")
    try:
        parsed = parse_yaml(value)
    except FileError as error:
        raise RequestError(f"--set {text}: the value is not YAML: {error}") from error
    if not (name.strip() and equals and value.strip()):
        raise RequestError(f"--set needs a name and a value, retrain.ema_decay=0.99; got {text!r}")
    return name.strip(), parsed


def settings_of(record: type, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a configuration, and of the records in it, in the order of its fields."""
    hints = get_type_hints(record, include_extras=True)
    for field in fields(record):
        found = list(_parts(hints[field.name]))
        kinds = [part for part in found if isinstance(part, type) and part not in (NoneType, tuple)]
        abouts = list(_abouts(found))
        if not abouts:
            assert is_dataclass(kinds[0]), f"{prefix}{field.name} has no meaning"
            yield from settings_of(kinds[0], f"{prefix}{field.name}.")
            continue
        choices = [get_args(part) for part in found if get_origin(part) is Literal]
        yield Setting(
            name=f"{prefix}{field.name}",
            kind=kinds[0] if kinds else str,
            is_list=tuple in found,
            may_be_null=NoneType in found,
            choices=choices[0] if choices else (),
            bounds=_bounds(found),
            default=field.default,
            example=next(iter(_examples(found)), field.default),
            about=abouts[0],
        )


def _parts(hint: Any) -> Iterator[Any]:
    """Yield what a type consists of: annotations, members of unions, and of a tuple itself and its items' type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from hint.__metadata__
        yield from _parts(hint.__origin__)
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from _parts(member)
    elif origin is tuple:
        yield tuple
        yield from _parts(arguments[0])
    elif origin is dict:
        yield dict
    else:
        yield hint


def _abouts(parts: list[Any]) -> Iterator[About]:
    """Yield what is said of a field: beside its type, or by pydantic's description where a package below has it."""
    for part in parts:
        if isinstance(part, About):
            yield part
        elif isinstance(part, FieldInfo) and part.description:
            yield About(part.description)


def _examples(parts: list[Any]) -> Iterator[object]:
    for part in parts:
        if isinstance(part, FieldInfo):
            yield from part.examples or ()


def _bounds(parts: list[Any]) -> dict[str, float]:
    constraints = [constraint for part in parts for constraint in getattr(part, "metadata", ())]
    return {name: getattr(c, name) for name in BOUNDS for c in constraints if hasattr(c, name)}


EXPECTED = {"tuple_type": "expected a list, such as [5ms]", "dataclass_type": "expected settings by name"}
"""What is expected, by pydantic's kind of error, where its own words are those of programs."""


def explain(error: ValidationError, record: type) -> str:
    """Return what is wrong with the first setting of a configuration that is, and what was expected of it."""
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    where = ".".join(names)
    if first["type"] == "unexpected_keyword_argument":
        known = _known_keys(record, names[:-1])
        close = [f"; did you mean {name!r}?" for name in difflib.get_close_matches(names[-1], known, n=1)]
        return f"unknown key {where!r}{''.join(close) or '.'} There are: {', '.join(known)}"
    message = EXPECTED.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"{where}: {message}" + ("" if "got" in message else f", got {first['input']!r}")


def _known_keys(record: Any, names: list[str]) -> list[str]:
    for name in names:
        if name.isdigit():  # of a list, whose items' type was found with the list
            continue
        hint = get_type_hints(record).get(name)
        record = next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)  # as in Record | None
    return [f.name for f in fields(record)] if is_dataclass(record) else []
