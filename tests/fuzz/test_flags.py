"""Flags of every command, with values that make no sense: exit code 0, 1 or 2, and never a traceback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.cli.app import app
from hwnas.cli.commands import RunCommand

VALUES = (
    "-1",
    "0",
    "1",
    "1e30",
    "nan",
    "inf",
    "-inf",
    "",
    "x",
    "true",
    "99999999999999999999",
    "1:30",
    "é",
    "../x",
    "20ms",
)

NOWHERE = {
    **dict.fromkeys(("profile", "search", "train", "tune", "devices check", "lut adapt"), ("--device", "nowhere")),
    "device emulate": ("nowhere",),
}
"""What keeps commands from beginning a work of hours."""

KEPT = ("--device", "--help")
"""Flags that keep what they are."""

LEFT_OUT = {"new", "device serve", "device track", "device key"}
"""They write files, or serve until they are ended."""


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its words; typer brings classes of its own for them."""
    if inner := getattr(command, "commands", None):
        for name, other in inner.items():
            yield from _commands(other, (*path, name))
    else:
        yield " ".join(path), command.whole() if isinstance(command, RunCommand) else command


COMMANDS = {name: c for name, c in _commands(typer.main.get_command(app)) if name not in LEFT_OUT}


def _limits(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, in which nothing may appear."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
@given(data=st.data())
@_limits(2)
def test_flags_that_make_no_sense_are_refused(name: str, data: st.DataObject, tried: Counter[tuple[str, str]]) -> None:
    _try(name, data, tried)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@given(data=st.data())
@_limits(20)
def test_many_flags_that_make_no_sense(name: str, data: st.DataObject, tried: Counter[tuple[str, str]]) -> None:
    _try(name, data, tried)


def _try(name: str, data: st.DataObject, tried: Counter[tuple[str, str]]) -> None:
    parameters = COMMANDS[name].params
    arguments = ["nowhere" for p in parameters if p.param_type_name == "argument"]
    options = [
        p.opts[0]
        for p in parameters
        if p.param_type_name == "option"
        and not getattr(p, "is_flag", False)
        and p.opts[0] not in ("--device", "--help")
    ]
    some = st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True) if options else st.just([])
    flags = [f"{option}={data.draw(st.sampled_from(VALUES))}" for option in data.draw(some)]
    outcome = run_cli(*name.split(), *arguments, *flags, *NOWHERE.get(name, ()))
    assert outcome.code in (0, 1, 2), (flags, outcome)
    assert not list(Path.cwd().iterdir()), f"{flags} wrote something"
    tried["flags", f"exit {outcome.code}"] += 1
