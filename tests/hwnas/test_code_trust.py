"""Names of code: only components of the kind are called, and only code that the user named is run."""

from __future__ import annotations

import importlib
import inspect
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from command_line import COMPONENT_FLAGS, run_cli
from samples import synthetic_table

import hwnas.pipeline.order  # noqa: F401 - what is replaced below must not be what it imports
from hwnas.components import CONTRACTS, find
from hwnas.errors import RequestError
from hwnas.scaffold import generate
from lut import save_table
from safe_files.code_trust import code_limited_to
from search_spaces import SpaceError, SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SEARCH = ("search", "--max-latency", "80%", "--width", 0.25, "--epochs", 1, "--train-images", 96, "--quiet")
NO_PARTS = (
    "os:system",
    "subprocess:run",
    "builtins:exec",
    "builtins:object",
    "shutil:rmtree",
    "pathlib:Path",
    "__main__:anything",
    "torch.hub:load",
    "torch:load",
    "torch.nn:CrossEntropyLoss",
    "numpy:fromfile",
    "numpy:array",
    "safe_files:write_text",
    "hwnas.cli:main",
    "hwnas.components:KINDS",
    "hwnas.search.agent:SearchAgent",
    "search_spaces.block:Block",
)
"""Things that are there and are no component of any kind."""


@pytest.fixture
def _nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_PARTS:
        module_name, _, attribute = name.partition(":")
        called = getattr(importlib.import_module(module_name), attribute, None)
        if inspect.isfunction(called):
            monkeypatch.setattr(f"{module_name}.{attribute}", _trap(called))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("os.system was called"))


def _trap(called: object) -> object:
    def trap(*_: object, **__: object) -> None:
        pytest.fail("called before it was checked")

    trap.__signature__ = inspect.signature(called)  # type: ignore[arg-type, attr-defined]
    trap.__annotations__ = dict(called.__annotations__)  # type: ignore[attr-defined]
    trap.__module__ = called.__module__
    return trap


@pytest.mark.usefixtures("_nothing_is_called")
@pytest.mark.parametrize("name", NO_PARTS)
def test_what_is_no_part_is_refused_for_every_kind_before_it_is_called(name: str) -> None:
    for kind in CONTRACTS:
        with pytest.raises(RequestError, match=r"expected .*; found "):
            find(kind, name)
    with pytest.raises(SpaceError, match=r"expected .*; found "):
        make_space(replace(SPEC, name=name))


@pytest.mark.parametrize(
    "module_name", ["torch", "torch.nn", "torch.nn.functional", "numpy", "yaml", "hwnas.pipeline.run"]
)
def test_nothing_in_a_module_of_other_things_is_a_part(module_name: str) -> None:
    """Whatever there is; but for losses made from one argument, which is seen when they are made."""
    accepted: set[tuple[str, str]] = set()
    for attribute in dir(importlib.import_module(module_name)):
        for kind in CONTRACTS:
            try:
                find(kind, f"{module_name}:{attribute}")
            except RequestError:
                continue
            accepted.add((kind, attribute))
    own = {("dataflow", "load_dataset"), ("space", "make_space")}
    assert {kind for kind, _ in accepted - own} <= {"criterion"}
    assert not accepted - own or module_name == "torch.nn"


@pytest.mark.usefixtures("_nothing_is_called")
@pytest.mark.parametrize("flag", sorted(COMPONENT_FLAGS.values()))
@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "torch.nn:CrossEntropyLoss", "torch.nn:BatchNorm2d"])
def test_the_command_line_says_what_was_expected(flag: str, name: str, tmp_path: Path) -> None:
    outcome = run_cli(*SEARCH, flag, name, "--out", tmp_path / "run")
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("error: ") == 1 and "expected a" in outcome.err and name in outcome.err


MINE = """\
from pathlib import Path
import torch
from os import system
Path(__file__).with_name("ran").touch()
def net(spec): return torch.nn.Linear(2, 2)
def width(num_classes=10): return torch.nn.Linear(2, num_classes)
def broken(spec): return spec.none
def failing(spec): raise KeyError("mine")
def data(root, input_size): return [root]
def typed(spec) -> int: return 3
def score(inputs): return 0.5
def strategy(space, constraint): return None
def agent(space, constraint, rng): return []
def loss(outputs, targets): return 0
number = 3
class Loss:
    def __call__(self, outputs, targets_N): return outputs.sum()
class Half:
    def __init__(self, inputs): pass
class Agent:
    def __init__(self, *, criterion): self.loss = criterion
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of things that are no components, with a trace of having been run, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize(
    ("flag", "name", "found"),
    [
        ("--space", "net", "it made a Linear"),
        ("--space", "width", "found one made from other arguments: num_classes"),
        ("--space", "broken", "making it failed: AttributeError"),
        ("--space", "typed", "found a function that returns int"),
        ("--space", "number", "found a int"),
        ("--space", "system", "found a builtin_function_or_method"),
        ("--space", "torch", "found a module"),
        ("--data", "data", "it made a list"),
        ("--data", "net", "found one made from other arguments: spec"),
        ("--evaluator", "score", "it made a float"),
        ("--evaluator", "Half", "found the class Half, which has no 'score'"),
        ("--strategy", "strategy", "it made a NoneType"),
        ("--agent", "agent", "it made a list"),
        ("--criterion", "loss", "found one made from other arguments: outputs, targets"),
        ("--criterion", "Loss", "found one made from other arguments: none"),
        ("--task", "Agent", "found the class Agent, which has no 'default_criterion'"),
        ("--task", "net", "found a function"),
    ],
)
def test_a_file_of_ones_own_is_checked_too(flag: str, name: str, found: str, mine: Path, tmp_path: Path) -> None:
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(*SEARCH, "--evaluations", 4, "--lut", "t.json", flag, f"./{mine.name}:{name}", "--out", "run")
    assert outcome.code == 2, outcome.err
    assert found in outcome.err and outcome.err.count("error: ") == 1


def test_an_error_of_ones_own_code_is_said_with_its_line(mine: Path) -> None:
    outcome = run_cli(*SEARCH, "--space", f"{mine}:failing", "--out", "run")
    assert outcome.code == 1
    assert outcome.err == f"error: {mine}, line 8: KeyError: 'mine'\n"


@pytest.mark.parametrize("kind", sorted({*CONTRACTS} - {"block"}))
def test_what_is_generated_is_a_part(kind: str, tmp_path: Path) -> None:
    path, _ = generate(kind, "mine", tmp_path)
    attribute = "mine" if kind in ("space", "dataflow") else "Mine"
    assert callable(find(kind, f"{path}:{attribute}"))


def test_only_files_that_were_named_are_run(mine: Path, tmp_path: Path) -> None:
    refused = r"would run the code in .*mine.*, which a file names, not the command line: .*give --trust-code"
    for argument in (f"{mine}:net", f"--space={mine}:net", "x=./mine.py:net"):
        with code_limited_to(["search", argument]), pytest.raises(SpaceError, match="it made a Linear"):
            make_space(replace(SPEC, name="./mine.py:net"))
    (tmp_path / "ran").unlink()
    for arguments in ([], ["other.py:net"], ["./mine.py"], ["mine"]):
        for name in ("./mine.py:width", f"{mine}:net"):
            with code_limited_to(arguments), pytest.raises(RequestError, match=refused):
                find("space", name)
    assert not (tmp_path / "ran").exists()


def test_a_module_in_the_current_folder_is_a_file_of_code(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.rename(tmp_path / "standing_here.py")
    (tmp_path / "package_here").mkdir()
    (tmp_path / "package_here" / "__init__.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("standing_here:net", "package_here:net", "package_here.inner:net"):
        with code_limited_to(["search"]), pytest.raises(RequestError, match="would run the code"):
            find("space", name)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "package_here" / "ran").exists()
    with code_limited_to(["search"]), pytest.raises(RequestError, match="expected"):
        find("space", "torch.nn:Module")


def _space_file(tmp_path: Path) -> Path:
    path, _ = generate("space", "mine", tmp_path)
    path.write_text(path.read_text() + '\n__import__("pathlib").Path(__file__).with_name("ran").touch()\n')
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("lut", "verify", "t.json"),
        ("lut", "refit", "t.json"),
        ("lut", "plot", "t.json", "-o", "p.png"),
        ("lut", "merge", "t.json", "t.json", "-o", "m.json"),
        ("lut", "adapt", "t.json", "-o", "a.json"),
        ("report", "run"),
        ("retrain", "run"),
        ("export", "run"),
        ("emit", "run", "50%"),
        ("search", "--resume", "--out", "run"),
        ("search", "config.yaml", "--out", "other"),
    ],
)
def test_tables_runs_and_configurations_run_no_code_by_themselves(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _space_file(tmp_path)
    spec = replace(SPEC, name=f"./{path.name}:mine", width=1.0)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    settings = {"max_latency": "80%", "space": {"name": spec.name}, "lut": "t.json", "supernet": {"epochs": 1}}
    (tmp_path / "run" / "search").mkdir(parents=True)
    for where in ("run/config.yaml", "config.yaml"):
        (tmp_path / where).write_text(yaml.safe_dump(settings))
    line = {"architecture": [0] * 5, "score": 0.5, "costs": {"latency_ms": 2.0}}
    (tmp_path / "run" / "search" / "history.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "ran").unlink()
    outcome = run_cli(*command)
    assert outcome.code == 2 and "give --trust-code" in outcome.err, (outcome.out, outcome.err)
    assert not (tmp_path / "ran").exists()


def test_showing_a_table_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = _space_file(tmp_path)
    spec = replace(SPEC, name=f"./{path.name}:mine", width=1.0)
    save_table(synthetic_table(make_space(spec)), tmp_path / "t.json")
    (tmp_path / "ran").unlink()
    without = run_cli("lut", "show", "t.json")
    assert without.code == 0 and not (tmp_path / "ran").exists()
    assert "networks of this space" not in without.out
    for monkey in ((), ("HWNAS_TRUST_CODE",)):
        for name in monkey:
            monkeypatch.setenv(name, "1")
        trusted = run_cli("lut", "show", "t.json", *(() if monkey else ("--trust-code",)))
        assert trusted.code == 0 and "networks of this space" in trusted.out


def test_a_yaml_space_runs_no_code_by_itself(mine: Path, tmp_path: Path) -> None:
    block, _ = generate("block", "patch", tmp_path)
    block.write_text(block.read_text() + '\n__import__("pathlib").Path(__file__).with_name("ran").touch()\n')
    choices = "choices: [{mbconv: {kernel: 3, expansion: 3}}, {%s: {kernel: 3}}]"
    stem = "stem: [{conv: {kernel: 3, act: relu}, out: 16}]\n"
    text = f"{stem}layers: [{{out: 16, stride: 2, {choices}}}]\nhead: [classifier]\n"
    (tmp_path / "s.yaml").write_text(text % "./patch.py:Patch")
    command = ("profile", "--space", "s.yaml", "--dry-run", "-o", "t.json", "--input-size", 8, "--networks", 0)
    outcome = run_cli(*command)
    assert outcome.code == 2 and "s.yaml: block family ./patch.py:Patch would run the code" in outcome.err
    assert not (tmp_path / "ran").exists()
    outcome = run_cli(*command, "--trust-code")
    assert outcome.code == 0 and (tmp_path / "ran").exists(), outcome.err
    for name, found in (
        ("builtins:exec", "standard library"),
        ("./mine.py:net", "a function"),
        ("./mine.py:Half", "no"),
    ):
        (tmp_path / "s.yaml").write_text(text % name)
        outcome = run_cli(*command, "--trust-code")
        assert outcome.code == 2 and "expected a class that derives from MapBlock" in outcome.err
        assert found in outcome.err


def test_the_trust_of_one_command_ends_with_it(mine: Path) -> None:
    assert run_cli("lut", "show", "none.json", "--trust-code").code == 2
    with code_limited_to([]):
        with code_limited_to(["./mine.py:net"]):
            pass
        with pytest.raises(RequestError, match="give --trust-code"):
            find("space", "./mine.py:net")
