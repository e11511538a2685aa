"""Parameters of commands, as the command-line library takes them: among them the fields of records."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

Command = Callable[..., None]


def parameters_of(command: Command) -> list[inspect.Parameter]:
    """Return the parameters of a command with their annotations as objects; all go by name."""
    found = inspect.signature(command, eval_str=True).parameters.values()
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in found]


def keyword(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """Return a parameter that becomes a flag or an argument; it must be given where it has no default."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def taking(parameters: Sequence[inspect.Parameter], command: Command) -> Callable[[Command], Command]:
    """Return a decorator: what it is put on stands for a command, with these parameters in place of the command's."""

    def decorate(function: Command) -> Command:
        decorated: Any = functools.wraps(command)(function)
        decorated.__signature__ = inspect.Signature(list(parameters))
        decorated.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return decorated  # type: ignore[no-any-return]

    return decorate


def with_fields_as_flags(command: Command) -> Command:
    """Return the command with a parameter for every field of the records that it takes, in place of these.

    A record is a dataclass whose fields are annotated as parameters are. So flags that several commands have are
    written once, and no function has many parameters.
    """
    own = parameters_of(command)
    records: dict[str, Any] = {p.name: p.annotation for p in own if is_dataclass(p.annotation)}

    @taking([flat for p in own for flat in (_flags(records[p.name]) if p.name in records else [p])], command)
    def flattened(**arguments: object) -> None:
        made = {}
        for name, record in records.items():
            made[name] = record(**{f.name: arguments.pop(f.name) for f in fields(record)})
        command(**arguments, **made)

    return flattened


def _flags(record: Any) -> list[inspect.Parameter]:
    """Return the parameters that the fields of a record become."""
    hints = get_type_hints(record, include_extras=True)
    return [
        keyword(f.name, hints[f.name], inspect.Parameter.empty if f.default is MISSING else f.default)
        for f in fields(record)
    ]
