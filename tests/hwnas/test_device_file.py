"""Devices files of one's own: what is said of their fields, and the first one that is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
from command_line import run_cli
from pydantic import Field

from hwnas.settings import About, settings_of
from profilers import Device, load_devices
from profilers.device import shipped_file


def test_the_file_in_use_is_shown_with_what_every_field_means(tmp_path: Path) -> None:
    shown = json.loads(run_cli("devices", "--show", "--json").out)
    assert shown["path"] == str(shipped_file()) and shown["text"] == shipped_file().read_text()
    rows = {row["name"]: row for row in shown["fields"]}
    assert {field.name for field in fields(Device)} - {"name"} <= rows.keys()
    assert {"ssh.python", "adb.serial", "rpc.boards"} <= rows.keys()
    assert all(re.fullmatch(r"[A-Z].*\.", row["meaning"]) and row["takes"] for row in rows.values())
    assert rows["threads"]["takes"] == "integer at least 1 and at most 1024" and rows["threads"]["default"] == "1"
    assert rows["adb.folder"]["runtimes"] == rows["adb"]["runtimes"] and "onnxruntime" in rows["adb"]["runtimes"]
    (tmp_path / "mine.yaml").write_text("mine: {runtime: onnxruntime}  # on my desk\n")
    outcome = run_cli("devices", "--show", "--devices", tmp_path / "mine.yaml")
    assert outcome.code == 0
    assert all(words in outcome.out for words in (str(tmp_path / "mine.yaml"), "# on my desk", "ssh.host"))
    outcome = run_cli("devices", "--show", "check", "cpu")
    assert outcome.code == 2 and "--show: expected no check" in outcome.err


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A record of a package that says by pydantic what its fields mean."""

    options: Annotated[dict[str, int] | None, Field(description="Some options.", examples=[{"a": 1}])] = None
    ratio: Annotated[float, Field(gt=0, description="A ratio.")] = 0.5


def test_what_pydantic_knows_of_a_field_is_told() -> None:
    options, ratio = settings_of(_Record)
    assert (options.takes, options.default, options.example) == ("values by name, or null", None, {"a": 1})
    assert (ratio.takes, ratio.default, ratio.example) == ("number more than 0", 0.5, 0.5)
    assert options.about == About("Some options.") and ratio.about.meaning == "A ratio."


def test_a_new_device_is_this_machine_until_it_is_told_otherwise(tmp_path: Path) -> None:
    outcome = run_cli("new", "device", "pi-5", "--folder", tmp_path / "a folder")
    path = tmp_path / "a folder" / "pi-5.yaml"
    assert outcome.code == 0 and f"hwnas devices check pi-5 --devices '{path}'" in outcome.out
    assert load_devices(path) == {"pi-5": Device(name="pi-5", runtime="onnxruntime")}
    outcome = run_cli("new", "device", "pi-5", "--folder", tmp_path / "a folder")
    assert outcome.code == 2 and "pi-5.yaml is there already" in outcome.err
    outcome = run_cli("new", "device", "../pi", "--folder", tmp_path)
    assert outcome.code == 2 and "a name begins with a letter" in outcome.err


@pytest.mark.parametrize("name", ["null", "true", "no", "y"])
def test_words_of_yaml_are_names_too(name: str, tmp_path: Path) -> None:
    assert run_cli("new", "device", name, "--folder", tmp_path).code == 0
    assert list(load_devices(tmp_path / f"{name}.yaml")) == [name]


def _switched_on(text: str, *names: str) -> str:
    """Take the # from the lines of some fields, as the file says to do."""
    for name in names:
        found = re.search(rf"^  #{name}:.*\n(?:^  #  .*\n)*", text, re.MULTILINE)
        assert found is not None, name
        text = text.replace(found[0], re.sub(r"^  #", "  ", found[0], flags=re.MULTILINE))
    return text


@pytest.mark.parametrize(
    "names",
    [
        ("ssh",),
        ("adb",),
        ("command", "copy", "folder"),
        ("provider", "provider_options", "arithmetic"),
        ("threads", "cores", "batch", "opset", "description", "emulated"),
        ("start_timeout_s", "open_timeout_s", "visit_timeout_s"),
        ("target", "rpc", "cross_compiler", "tuning"),
    ],
    ids=" ".join,
)
def test_every_field_of_a_new_file_may_be_switched_on(names: tuple[str, ...], tmp_path: Path) -> None:
    assert run_cli("new", "device", "mine", "--folder", tmp_path).code == 0
    path = tmp_path / "mine.yaml"
    text = _switched_on(path.read_text(), *names)
    path.write_text(text.replace('runtime: "onnxruntime"', "runtime: tvm") if "target" in names else text)
    device = load_devices(path)["mine"]
    assert device.is_here != bool({"ssh", "adb", "command", "rpc"} & {*names})
    assert all(getattr(device, name) is not None for name in names)
