"""Every numeric flag of every command, given what no range should let through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from command_line import run_cli
from samples import synthetic_table
from typer.utils import get_params_from_function

from hwnas.cli.app import app
from hwnas.cli.commands import RunCommand
from hwnas.cli.ranges import RANGES
from hwnas.cli.setting_flags import limits, with_setting_flags
from hwnas.flags import settings_by_flag
from lut import save_table
from search_spaces import SpaceSpec, make_space

VALUES = ("-1", "0", "1e30", "nan", "inf", "text", "")

SMALL = ("--input-size", 8, "--width", 0.25)
ENDS_SOON: dict[str, tuple[object, ...]] = {
    "profile": (*SMALL, "--space", "nasbench-macro", "--dry-run", "-o", "new.json"),
    "search": ("--width", 0.25, "--lut", "absent.json", "--max-latency", "5ms"),
    "convert": ("absent.onnx",),
    "train": ("--width", 0.25, "--lut", "absent.json", "--max-latency", "5ms"),
    "export": ("absent",),
    "watch": ("absent",),
    "ui": ("absent",),
    "compare": ("absent.onnx",),
    "explain": ("absent.onnx",),
    "predict": ("absent.onnx", "--lut", "absent.json"),
    "tune": (*SMALL, "--space", "nasbench-macro", "--device", "cpu-tvm", "--dry-run", "--blocks", 1),
    "spaces": SMALL,
    "lut show": ("table.json",),
    "lut diff": ("table.json", "table.json"),
    "lut verify": ("table.json", "--networks", 2, "--rounds", 2),
    "lut adapt": ("absent.json", "-o", "new.json"),
    "device serve": ("--tracker", "absent"),
    "device track": (),
    "device emulate": ("absent",),
}
"""What to give a command so that it ends within a second where the value is good."""


def _commands(group: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Callable[..., object]]]:
    for command in group.registered_commands:
        assert command.callback is not None
        name = f"{prefix}{command.name or command.callback.__name__}"
        yield name, with_setting_flags(command.callback) if command.cls is RunCommand else command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _commands(inner.typer_instance, f"{prefix}{inner.name} ")


def _numeric_flags() -> list[tuple[str, str]]:
    return [
        (command, f"--{name.replace('_', '-')}")
        for command, callback in _commands(app)
        for name, parameter in get_params_from_function(callback).items()
        if parameter.annotation in (int, float, int | None, float | None)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flags")
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25))
    save_table(synthetic_table(space), path / "table.json")
    return path


def test_flags_are_found() -> None:
    found = _numeric_flags()
    assert len(found) > 40 and {command for command, _ in found} == set(ENDS_SOON)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("command", "flag"), _numeric_flags(), ids="".join)
def test_no_value_of_a_flag_ends_in_a_traceback(
    command: str, flag: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for value in VALUES:
        outcome = run_cli(*command.split(), *ENDS_SOON[command], f"{flag}={value}")
        assert outcome.code in (0, 1, 2), (value, outcome)
        if value != "0":
            assert outcome.code == 2 and flag in outcome.err, (value, outcome)


def test_one_table_or_the_configuration_has_the_range_of_every_numeric_flag() -> None:
    of_settings = {flag: limits(setting) for flag, (setting, *_) in settings_by_flag().items()}
    for command, callback in _commands(app):
        for name, parameter in get_params_from_function(callback).items():
            if parameter.annotation in (int, float, int | None, float | None):
                (option,) = _options(callback, name)
                flag = next(
                    (decl for decl in (option.default, *(option.param_decls or ())) if decl in of_settings), None
                )
                known = RANGES.values() if flag is None else [of_settings[flag]]
                assert (option.min, option.max) in known, f"{command} {name}: expected ranged(...)"


def _options(callback: Callable[..., object], name: str) -> list[typer.models.OptionInfo]:
    from typing import get_type_hints

    hint = get_type_hints(callback, include_extras=True)[name]
    return [found for found in hint.__metadata__ if isinstance(found, typer.models.OptionInfo)]
