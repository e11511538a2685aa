"""Help, the list of settings, and what a shell completes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, get_type_hints

import pytest
import typer
from command_line import run_cli

import hwnas
from hwnas.augmentation import Augmentation
from hwnas.cli.app import app
from hwnas.cli.arguments import all_callbacks
from hwnas.cli.commands import RunCommand
from hwnas.cli.parameters import with_fields_as_flags
from hwnas.cli.setting_flags import with_setting_flags
from hwnas.config import RunConfig
from hwnas.config_file import differing_settings, load_config
from hwnas.flags import settings_by_flag
from hwnas.recipes import ADAMW_RATE
from hwnas.settings import PANELS, About, parse_setting, settings_of
from profilers.device import load_devices
from search_spaces import SPACES


def _commands(group: typer.Typer, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every command, and the function that it calls."""
    for command in group.registered_commands:
        assert command.callback is not None
        function = with_setting_flags(command.callback) if command.cls is RunCommand else command.callback
        yield (*prefix, command.name or command.callback.__name__), function
    for inner in group.registered_groups:
        assert inner.typer_instance is not None and inner.name
        if callback := inner.typer_instance.registered_callback:
            yield (*prefix, inner.name), callback.callback
        yield from _commands(inner.typer_instance, (*prefix, inner.name))


COMMANDS = dict(_commands(app))


def _help_texts(function: Any) -> list[str]:
    hints = get_type_hints(function, include_extras=True)
    infos = [info for hint in hints.values() for info in getattr(hint, "__metadata__", ())]
    return [info.help for info in infos if getattr(info, "help", None)]


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=" ".join)
def test_help_shows_every_character(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    outcome = run_cli(*words, "-h")
    assert outcome.code == 0 and outcome == run_cli(*words, "--help")
    texts = _help_texts(COMMANDS[words])
    assert texts
    for text in texts:
        assert f" {text} " in outcome.out, text


def test_some_help_texts_have_brackets_and_are_of_all_commands() -> None:
    assert sum("[" in text for function in COMMANDS.values() for text in _help_texts(function)) > 15
    assert len(COMMANDS) >= len(all_callbacks(app)) - 1  # the program's own has no command


def test_help_of_a_search_is_in_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = run_cli("search", "--help").out
    places = [out.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert places[1] < out.index("--max-latency") < places[2] < out.index("--data ") < places[3]
    assert places[5] < out.index("--out ") < out.index("--json")


def test_the_version_is_told() -> None:
    assert run_cli("--version").out == f"hwnas {hwnas.__version__}\n"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield from _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_every_setting_is_listed_with_what_it_means() -> None:
    config = load_config(None, {"max_latency": "5ms"})
    rows = {row["name"]: row for row in json.loads(run_cli("settings", "--json").out)}
    assert list(rows) == list(_flat(asdict(config)))
    shown = run_cli("settings").out
    for name, row in rows.items():
        assert len(row["meaning"]) > 8 and row["meaning"].endswith("."), row
        assert row["takes"] and f"│ {name} " in shown
    assert rows["supernet.epochs"] == {
        **{"name": "supernet.epochs", "takes": "integer at least 0", "default": "60", "default_with_model": "5"},
        **{"meaning": "Epochs of the supernet; 0 searches given weights as they are.", "flag": "--epochs"},
        "recipes": {"own network": "5"},
    }
    assert rows["search.confidence"]["takes"] == "number at least 0.5 and less than 1, or null"
    assert rows["retrain.accelerator"]["takes"] == "cpu or cuda"
    assert rows["search.proxies"]["takes"] == "list of gradient-norm, naswot, synflow, zen"
    assert rows["max_latency"]["default"] is None


def test_every_default_that_is_listed_is_the_default() -> None:
    names = {s.name: s.default_text for s in settings_of(RunConfig) if s.default_text}
    assert len(names) > 60
    given: dict[str, Any] = {"max_latency": "5ms"}
    assert load_config(None, given | dict(parse_setting(f"{n}={d}") for n, d in names.items())) == load_config(
        None, given
    )


def test_the_defaults_that_a_network_of_ones_own_brings_are_listed() -> None:
    rows = {row["name"]: row["default_with_model"] for row in json.loads(run_cli("settings", "--json").out)}
    usual = load_config(None, {"max_latency": "5ms"})
    for optimizer in ("sgd", "adamw"):
        chosen = {"supernet.optimizer": optimizer, "retrain.optimizer": optimizer}
        own = load_config(None, {"max_latency": "5ms", "space.model": "net.onnx", **chosen})
        differing = {*differing_settings(usual, own)} - {*chosen, "space.model"}
        assert differing == {name for name, text in rows.items() if text is not None}
        for name in differing:
            group, _, field = name.partition(".")
            listed, found = parse_setting(f"{name}={rows[name]}")[1], getattr(getattr(own, group), field)
            is_slower = field == "learning_rate" and optimizer == "adamw"
            assert found == pytest.approx(listed * ADAMW_RATE if is_slower else listed), name
    assert any("[60, with --model 5]" in text for text in _help_texts(COMMANDS[("search",)]))


def test_every_flag_of_a_search_names_a_setting_or_is_one_of_the_few_of_its_own() -> None:
    function = COMMANDS[("search",)]
    own = {"config", "setting", "begun_from", "resume", "as_json", "quiet", "trust_code"}
    flags = {flag.partition("/")[0].removeprefix("--").replace("-", "_") for flag in settings_by_flag()}
    assert set(get_type_hints(function)) == flags | own
    assert {s.name for s in settings_by_flag()["--criterion"]} == {"supernet.criterion", "retrain.criterion"}
    assert {s.name for s in settings_by_flag()["--accelerator"]} == {"supernet.accelerator", "retrain.accelerator"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    size: Annotated[int, typer.Option(help="Of the shape.")] = 3
    colour: Annotated[str, typer.Option()]


def test_the_fields_of_a_record_are_parameters_where_the_record_was() -> None:
    taken = {}

    def draw(path: str, *, size: _Shape, plain: bool = False) -> None:
        """Draw it."""
        taken.update(path=path, size=size, plain=plain)

    made = with_fields_as_flags(draw)
    found = inspect.signature(made).parameters
    assert list(found) == ["path", "size", "colour", "plain"] and made.__doc__ == "Draw it."
    assert found["size"].default == 3 and found["colour"].default is inspect.Parameter.empty
    assert get_type_hints(made, include_extras=True)["size"].__metadata__[0].help == "Of the shape."
    made(path="x", size=4, colour="red", plain=True)
    assert taken == {"path": "x", "size": _Shape(size=4, colour="red"), "plain": True}


def test_a_flag_that_two_records_have_is_refused() -> None:
    def draw(one: _Shape, other: _Shape) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'size'"):
        with_fields_as_flags(draw)


def test_augmentations_meaning_names_its_fields() -> None:
    (setting,) = (s for s in settings_of(RunConfig) if s.kind is Augmentation)
    for name in asdict(Augmentation()):
        assert f"{name}: " in setting.about.meaning and name in setting.takes


def test_a_flag_without_a_panel_is_refused() -> None:
    for wrong in ({"flag": "--x"}, {"panel": "What"}, {"flag": "--x", "panel": "Other"}):
        with pytest.raises(ValueError, match="a flag needs one of the panels What, Budget"):
            About("Words.", **wrong)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("search --space nasb", {n for n in SPACES if n.startswith("nasb")}),
        ("search --device ", {*load_devices()}),
        ("search --data cif", {"cifar10", "cifar100"}),
        ("train --agent e", {"evolution"}),
        ("search --strategy s", {"sandwich", "softmax"}),
        ("search --criterion f", {"focal"}),
        ("search --evaluator z", {"zen"}),
        ("search --precision ", {"fp32", "int8"}),
        ("search --executor r", {"ray"}),
        ("search --task v", {"verification"}),
        ("search --accelerator ", {"cpu", "cuda"}),
        ("profile --space spos", {"spos"}),
        ("profile --devices absent.yaml --device ", set()),
        ("profile --tuning m", {"meta_schedule"}),
        ("lut adapt --precision i", {"int8"}),
        ("devices check rp", {n for n in load_devices() if n.startswith("rp")}),
        ("list ta", {"task"}),
        ("new cr", {"criterion"}),
        ("new d", {"dataflow", "device"}),
        ("docs b", {"boards"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the order of a set changes from process to process
)
def test_a_shell_completes_values(line: str, expected: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["hwnas", *line.split(" ")]
    monkeypatch.setenv("_HWNAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert set(run_cli().out.split()) == expected


def test_kinds_are_called_as_their_flags_are() -> None:
    for word, name in (("task", "verification"), ("agent", "evolution"), ("strategy", "uniform"), ("data", "digits")):
        assert name in run_cli("list", word).out
    assert run_cli("list", "agent").out.splitlines()[1:] == run_cli("list", "search-agent").out.splitlines()[1:]
